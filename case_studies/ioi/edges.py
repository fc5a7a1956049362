"""Edges: circuits of a size, the smallest that is faithful, and gradients held against patching edge by edge."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from workbench import functional, tasks
from workbench.circuits import (
    Method,
    Wiring,
    circuits_of,
    edge_scores,
    exact_scores,
    judged,
    ordered_edges,
    random_orders,
)

Table = Any


def scored(wiring: Wiring, task: tasks.Task, method: Method, steps: int) -> Tensor:
    """Scores of all edges from gradients."""
    return edge_scores(wiring, task.pairs(wiring.model), task.metric, method=method, steps=steps)


def orders(wiring: Wiring, scores: Tensor, draws: int, seed: int) -> dict[str, Tensor]:
    """Edges in the order in which circuits take them: by the size of their score, those that help first, at random."""
    random = {f"random {i}": one for i, one in enumerate(random_orders(wiring.graph, "greedy", draws, seed))}
    return {
        "size": ordered_edges(wiring.graph, scores, "greedy"),
        "help": ordered_edges(wiring.graph, scores, "greedy", absolute=False),
        **random,
    }


def curve(wiring: Wiring, task: tasks.Task, order: Tensor, sizes: list[int]) -> Table:
    """One row for each size: edges left without dead ends, and the share of the gap that they give."""
    kept = circuits_of(wiring.graph, order, sizes)
    found = judged(wiring, task.pairs(wiring.model), task.metric, kept).faithfulness
    shares = [size / wiring.graph.n_edges for size in sizes]
    left = kept.flatten(1).sum(1).tolist()
    return pd.DataFrame({"share": shares, "edges": sizes, "kept": left, "faithfulness": found.tolist()})


def between(rows: Table, faithful: float, steps: int) -> list[int]:
    """Sizes between the last that is not faithful enough and the first that is; none where none is."""
    enough = rows[rows["faithfulness"] >= faithful]["edges"]
    if not len(enough):
        return []
    high = int(enough.min())
    low = max(1, *rows[rows["edges"] < high]["edges"], 1)
    sizes = {round(low * (high / low) ** (i / (steps + 1))) for i in range(1, steps + 1)}
    return sorted(sizes - {low, high})


def smallest(rows: Table, faithful: float) -> float:
    """Edges, dead ends left out, of the smallest circuit of those tried that is faithful; NaN where none is."""
    enough = rows[rows["faithfulness"] >= faithful].sort_values("edges")
    return float(enough["kept"].iloc[0]) if len(enough) else float("nan")


def sampled(scores: Tensor, exists: Tensor, top: int, random: int, seed: int) -> Tensor:
    """(source, slot): the edges with the largest scores, and others drawn at random."""
    first = functional.top_order(scores, exists)[:top]
    rest = exists.flatten().clone()
    rest[first] = False
    others = rest.nonzero()[:, 0]
    drawn = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))[:random]]
    mask = torch.zeros_like(exists).flatten()
    mask[torch.cat([first, drawn])] = True
    return mask.view_as(exists)


def against_patching(wiring: Wiring, task: tasks.Task, mask: Tensor, scores: dict[str, Tensor]) -> Table:
    """One row for each edge of `mask`: by how much the metric drops when it is patched, and what gradients say."""
    exact = exact_scores(wiring, task.pairs(wiring.model), task.metric, edges=mask)
    at = mask.nonzero()
    names = [wiring.graph.edge_name(*place) for place in at.tolist()]
    found = {name: one[at[:, 0], at[:, 1]].tolist() for name, one in scores.items()}
    return pd.DataFrame({"edge": names, "exact": exact[at[:, 0], at[:, 1]].tolist(), **found})
