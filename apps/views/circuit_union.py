"""Two circuits as one drawing: every edge of either, and whose it is."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from apps.views.circuit_graph import strongest

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from workbench.circuits.graph_data import CircuitGraph


def kept_of(graph: "CircuitGraph") -> "Tensor":
    """(source, slot): the edges of a circuit, at any position."""
    kept = graph.exists if graph.kept is None else graph.kept
    return kept.any(0) if kept.ndim == 3 else kept


def _scores_of(graph: "CircuitGraph") -> "Tensor":
    if graph.scores is None:
        return graph.exists.double() * 0
    scores = graph.scores.double()
    return scores.sum(0) if scores.ndim == 3 else scores


def union_of(first: "CircuitGraph", second: "CircuitGraph") -> "tuple[CircuitGraph, dict[tuple[int, int], int]]":
    """One graph with the edges of both, and for each (source, slot) 0 both, 1 the first alone, 2 the second alone.

    The score of an edge is that of the first circuit it is in.
    """
    import torch

    one, other = kept_of(first), kept_of(second)
    scores = torch.where(one, _scores_of(first), _scores_of(second))
    both = first.with_(positions=(), scores=scores, kept=one | other, groups={}, labels={}, pinned=())
    side = torch.where(one & other, 0, torch.where(one, 1, 2))
    places = (one | other).nonzero()
    return both, {(s, t): int(side[s, t]) for s, t in places.tolist()}


def counted(first: "CircuitGraph", second: "CircuitGraph") -> tuple[int, int, int]:
    """Edges of both, of the first alone, of the second alone."""
    one, other = kept_of(first), kept_of(second)
    return int((one & other).sum()), int((one & ~other).sum()), int((other & ~one).sum())


def jaccard_of(first: "CircuitGraph", second: "CircuitGraph") -> float | None:
    """Shared edges over all edges of either; None where both are empty."""
    both, left, right = counted(first, second)
    return both / (both + left + right) if both + left + right else None


def matched_frame(pairs: "Iterable[tuple[int, CircuitGraph, CircuitGraph]]") -> "pd.DataFrame":
    """One row for each size: edges shared and not, and Jaccard."""
    import pandas as pd

    rows = [(size, *counted(one, other), jaccard_of(one, other)) for size, one, other in pairs]
    return pd.DataFrame(rows, columns=["edges asked for", "shared", "only the first", "only the second", "Jaccard"])


def side_frame(first: "CircuitGraph", second: "CircuitGraph", one: str, other: str) -> "pd.DataFrame":
    """One row for each edge of either circuit, and its score in each that has it."""
    import pandas as pd

    sides = [{(source, slot): score for source, slot, score in strongest(graph)} for graph in (first, second)]
    names = ("both", f"only {one}", f"only {other}")
    rows = []
    for edge in dict.fromkeys((*sides[0], *sides[1])):
        mine, its = (side.get(edge) for side in sides)
        whose = 0 if mine is not None and its is not None else 1 if mine is not None else 2
        rows.append((first.sources[edge[0]], first.slot_names[edge[1]], names[whose], mine, its))
    return pd.DataFrame(rows, columns=["from", "into", "in", "score in the first", "score in the second"])
