"""Scores of whole nodes by attribution: how much the metric would drop if a node wrote what it writes in the other run.

    nodes = node_attributions(wiring, task.pairs(model), "logit-diff")        # (source,)
    spread_to_edges(wiring.graph, nodes)                                      # (source, slot)

Neurons are the nodes of a layer whose MLP is split: `split(model, neurons=(3,))`.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.circuits.blocks import run_blocks
from workbench.circuits.edge_scores import Replace, Runs, runs
from workbench.circuits.graph import CircuitGraph
from workbench.circuits.split import Wiring
from workbench.errors import BadInput
from workbench.hooks import reading


def node_attributions(
    wiring: Wiring,
    pairs: Iterable[Any],
    metric: str,
    *,
    absolute: bool = False,
    replace: Replace = "corrupted",
) -> Float[Tensor, "source"]:
    """By how much the metric drops, to first order, when all that a node writes is exchanged.

    (clean - other write) . gradient of the metric at that write in the clean run, summed over positions and d_model,
    mean over examples; for each node the sum of the EAP scores of its edges. `absolute` takes the absolute value of
    each example's sum first: the head importance score for pruning (HISP), in which examples that disagree do not
    cancel. Costs two forward passes a batch and one forward and backward pass. Michel et al. (2019), "Are Sixteen Heads
    Really Better than One?".
    """
    total, count = None, 0
    for one in runs(wiring, pairs, replace):
        found = _example_scores(wiring, one, metric)
        found = (found.abs() if absolute else found).sum(1)
        total, count = found if total is None else total + found, count + len(one.pair)
    if total is None:
        raise BadInput("There is no example, so no node has a score.")
    return total / count


def _example_scores(wiring: Wiring, one: Runs, metric: str) -> Float[Tensor, "source batch"]:
    """What is added to the stream in one place has one gradient: that of the place."""
    clean, delta = one.clean, one.delta
    groups = [(f"{wiring.layers[0].block}.resid_pre", slice(0, 1))]
    for layer in wiring.layers:
        groups.append((f"{layer.block}.attn_out", layer.heads))
        if layer.mlp is not None:
            groups.append((f"{layer.block}.mlp_out", layer.writers))
    sites = [site for site, _ in groups]
    with torch.enable_grad(), reading(wiring.model, sites, gradients=True) as values:
        last = run_blocks(clean.calls, 0, clean.streams[0].detach().requires_grad_())
        logits = wiring.answers(last, clean.position)
        slopes = torch.autograd.grad(one.measure(metric)(logits).sum(), [values[site] for site in sites])
    scores = delta.new_empty(delta.shape[:2])
    for (_, sources), slope in zip(groups, slopes, strict=True):
        scores[sources] = torch.einsum("sbpm,bpm->sb", delta[sources], slope)
    return scores


def spread_to_edges(graph: CircuitGraph, nodes: Float[Tensor, "source"]) -> Float[Tensor, "source slot"]:
    """Scores of edges out of scores of nodes: an edge is worth the lesser of its two ends; NaN where there is no edge.

    So the edges above a bound are those between nodes above it. Sizes are compared and signs are lost. The logits are
    worth as much as the best node, and a slot that several heads share as much as the best of them.
    """
    if tuple(nodes.shape) != (len(graph.sources),):
        raise BadInput(
            f"This graph has {len(graph.sources)} nodes that write; there are scores of {tuple(nodes.shape)}."
        )
    sizes = nodes.abs()
    ends = torch.cat([sizes, sizes.max()[None]])  # a node each, the logits last
    reads = torch.where(graph.feeds.to(sizes.device), ends, -torch.inf).amax(1)  # (slot,)
    return torch.minimum(sizes[:, None], reads).masked_fill(~graph.exists.to(sizes.device), torch.nan)
