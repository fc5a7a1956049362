"""Exact scores of edges: each edge patched by itself and the rest run again, which is what gradients estimate.

    scores = exact_scores(wiring, task.pairs(model), "logit-diff")                 # (source, slot)
    scores = exact_scores(wiring, pairs, "kl", edges=graph.kept)                   # these edges alone, NaN elsewhere

What an edge cannot change is not run again (`edge_patching.py`): an edge into layer l leaves all before
it as it was, and an edge into the logits is the head of the model alone.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.circuits.edge_patching import NUMBERS, Patching
from workbench.circuits.edge_scores import Replace, runs
from workbench.circuits.split import Wiring
from workbench.errors import BadInput


@torch.no_grad()
def exact_scores(
    wiring: Wiring,
    pairs: Iterable[Any],
    metric: str,
    *,
    edges: Bool[Tensor, "source slot"] | None = None,
    replace: Replace = "corrupted",
    positions: bool = False,
    numbers: int = NUMBERS,
) -> Float[Tensor, "*pos source slot"]:
    """By how much the metric drops when one edge carries the other prompt's write, each edge by itself.

    Mean over examples, in the metric's unit; NaN where there is no edge, or it is not among `edges`. With `positions`
    an edge is exchanged at one position alone, and scores have that axis first; examples are then of one length. Costs
    a run of the blocks behind it for each edge and batch. `numbers` bounds what is run at once, as numbers in a stream;
    one copy of a batch is the least.
    """
    pairs, asked = list(pairs), _asked(wiring, edges)
    if not pairs:
        raise BadInput("There is no example, so no edge has a score.")
    total, count = None, 0
    for number, one in enumerate(runs(wiring, pairs, replace)):
        drops = Patching(
            wiring=wiring, one=one, metric=metric, asked=asked, positions=positions, numbers=numbers,
            batch=(number, len(pairs)),
        ).drops()  # fmt: skip
        if total is not None and total.shape != drops.shape:
            raise BadInput(
                f"Scores by position need prompts of one length; these have {len(total)} and {len(drops)} tokens."
            )
        total, count = drops if total is None else total + drops, count + len(one.pair)
    assert total is not None, "there is a pair"
    dtype = torch.promote_types(wiring.model.dtype, torch.float32)
    return (total / count).masked_fill(~asked, torch.nan).to(wiring.model.device, dtype)


def _asked(wiring: Wiring, edges: Tensor | None) -> Tensor:
    exists = wiring.graph.exists.cpu()
    if edges is None:
        return exists
    if edges.dtype != torch.bool or edges.shape != exists.shape:
        raise BadInput(
            f"Edges to score are true or false, (source, slot) = {tuple(exists.shape)}; these are"
            f" {str(edges.dtype).removeprefix('torch.')} of shape {tuple(edges.shape)}."
        )
    if wrong := int((edges.cpu() & ~exists).sum()):
        raise BadInput(f"{wrong} of the edges to score are not in this graph.")
    return edges.cpu()
