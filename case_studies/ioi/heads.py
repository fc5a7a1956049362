"""Heads: what they do to the answer, where they look from the last position, and whether routes pass through them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import workbench
from workbench import functional, tasks
from workbench.circuits import Wiring, answers, run_blocks, runs

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""
PLACES = ("receiver", "giver, first", "giver, second", "first token")
"""Where a head looks from the last position."""
EARLIER = ("to itself before", "to what followed")
"""And from the giver's second mention: to the first (duplicate token), to what came after it (induction)."""


def head_table(wiring: Wiring, task: tasks.Task, scores: Tensor) -> Table:
    """One row a head: its edges' scores added up, its direct effect, and where it looks from the last position.

    The sum of a head's edges by EAP-IG is what integrated gradients give for the whole head. The direct effect is what
    it writes at the last position along the difference of the two names' unembeddings, through the final norm.
    """
    model, graph = wiring.model, wiring.graph
    direct = torch.zeros(wiring.n_sources)
    looks = torch.zeros(graph.n_layers, graph.n_heads, len(PLACES) + len(EARLIER))
    count = 0
    patterns = model.attention_sites(None, "pattern")
    for pair in task.pairs(model):
        one = next(iter(runs(wiring, [pair])))
        direct += direct_effects(wiring, one).sum(1)
        with torch.no_grad(), workbench.reading(model, patterns) as values:
            model.module(**pair.clean)
        ids = next(iter(pair.clean.values()))
        for row in range(len(pair)):
            here = torch.stack([values[site][row] for site in patterns])  # (layer, head, query, key)
            looks += look(here, ids[row], int(pair.position[row]), pair.targets[row, 0], pair.foils[row, 0])
        count += len(pair)
    looks, direct = looks / count, direct / count
    rows = []
    for layer in wiring.layers:
        for head in range(graph.n_heads):
            source = layer.heads.start + head
            rows.append(
                {
                    "node": graph.sources[source],
                    "layer": layer.number,
                    "head": head,
                    "score": float(scores[source].nansum()),
                    "direct": float(direct[source]),
                    **dict(zip((*PLACES, *EARLIER), looks[layer.number, head].tolist(), strict=True)),
                }
            )
    return pd.DataFrame(rows)


def look(patterns: Tensor, ids: Tensor, at: int, target: Tensor, foil: Tensor) -> Tensor:
    """(layer, head, place): attention from the last position to `PLACES`, and from the second giver to `EARLIER`."""
    receiver, giver = ((ids == name).nonzero()[:, 0].tolist() for name in (target, foil))
    last = patterns[..., at, :]
    found = [last[..., places].sum(-1) for places in (receiver, giver[:1], giver[1:], [0])]
    second = patterns[..., giver[1], :] if len(giver) > 1 else torch.zeros_like(last)
    after = [place + 1 for place in giver[:1]]
    return torch.stack([*found, second[..., giver[:1]].sum(-1), second[..., after].sum(-1)], -1)


def direct_effects(wiring: Wiring, one: Any) -> Tensor:
    """(source, batch): how far each source's own write moves the logit difference, the final norm held as it is."""
    model, pair, norm = wiring.model, one.pair, wiring.model.final_norm
    rows = torch.arange(len(pair))
    last = one.clean.streams[-1][rows, pair.position]
    size = (last.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    unembed = model.unembed.weight.detach()
    way = (unembed[pair.targets[:, 0]] - unembed[pair.foils[:, 0]]) * norm.weight / size
    return torch.einsum("sbd,bd->sb", one.clean.writes[:, rows, pair.position], way)


@torch.no_grad()
def exact_heads(wiring: Wiring, task: tasks.Task, nodes: Sequence[str]) -> dict[str, float]:
    """By how much the logit difference drops when a head writes what it writes on the corrupted prompt, everywhere."""
    model, total = wiring.model, dict.fromkeys(nodes, 0.0)
    by_layer: dict[int, list[str]] = {}
    for node in nodes:
        by_layer.setdefault(int(node[1:].split(".")[0]), []).append(node)
    for one in runs(wiring, task.pairs(model)):
        before = one.measure(task.metric)(one.clean.logits).sum()
        rows = torch.arange(len(one.pair))
        for layer, names in by_layer.items():
            for name in names:
                moved = one.clean.writes[wiring.graph.source_index(name)] - one.other[wiring.graph.source_index(name)]
                with workbench.editing(model, {f"blocks.{layer}.attn_out": lambda value, moved=moved: value - moved}):
                    last = run_blocks(one.clean.calls, layer, one.clean.streams[layer])
                after = one.measure(task.metric)(answers(model, last[rows, one.pair.position])).sum()
                total[name] += float(before - after) / len(task)
    return total


def route_table(model: workbench.LensModel, task: tasks.Task, threshold: float) -> Table:
    """One row a head on the route of some prompt's answer: its share summed over looks, mean over prompts."""
    found: dict[tuple[int, int], list[float]] = {}
    for example in task.examples:
        route = workbench.routes(model, example.clean, threshold=threshold).route()
        heads: Any = route[route["head"] >= 0].groupby(["layer", "head"])["share"].sum()
        for place, share in heads.items():
            found.setdefault(place, []).append(float(share))
    rows = [
        {"layer": layer, "head": head, "route": sum(shares) / len(task), "on routes": len(shares) / len(task)}
        for (layer, head), shares in found.items()
    ]
    return pd.DataFrame(rows, columns=["layer", "head", "route", "on routes"])


def rank_correlation(one: Any, other: Any) -> float:
    """Spearman's, NaN where a side is constant."""
    return float(functional.spearman(*(torch.tensor(list(map(float, x)), dtype=torch.float64) for x in (one, other))))
