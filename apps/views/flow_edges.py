"""What passes along each edge of the graph of tokens: numbers behind the picture, without a picture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Edges:
    """The edges that are drawn, largest first."""

    step: "np.ndarray"
    """Which step an edge belongs to: it joins `query` above step s to `key` below it."""
    query: "np.ndarray"
    key: "np.ndarray"
    value: "np.ndarray"
    left_out: int
    """Edges within the window that there was no room for."""
    elsewhere: float
    """Share of all that is carried on edges that begin or end outside the window."""


def with_residual(maps: "np.ndarray", residual: float) -> "np.ndarray":
    """(step, node, node) attention with a share of each node's own mixed in; a node that stands still stays so."""
    import numpy as np

    return (1 - residual) * maps + residual * np.eye(maps.shape[-1], dtype=maps.dtype)


def rollout_edges(maps: "np.ndarray", level: int, node: int, source: int | None = None) -> "np.ndarray":
    """(level, node, node): what comes to `node`, above `level` steps, along each edge below it; a level sums to one.

    With a `source`, the part of it that started there: a level then sums to the source's share.
    """
    import numpy as np

    carried = np.zeros((level, *maps.shape[1:]), maps.dtype)
    mass = np.eye(maps.shape[-1], dtype=maps.dtype)[node]
    for step in reversed(range(level)):
        carried[step] = mass[:, None] * maps[step]
        mass = carried[step].sum(0)
    if source is None:
        return carried
    share = np.eye(maps.shape[-1], dtype=maps.dtype)[source]  # of the source in each node, from the input up
    for step in range(level):
        carried[step] *= share
        share = maps[step] @ share
    return carried


def reached(maps: "np.ndarray", level: int, node: int) -> "np.ndarray":
    """(level, node, node): the edges that lead down from `node`, with their own weights; others are zero."""
    import numpy as np

    kept = np.zeros((level, *maps.shape[1:]), maps.dtype)
    here = np.zeros(maps.shape[-1], bool)
    here[node] = True
    for step in reversed(range(level)):
        kept[step] = here[:, None] * maps[step]
        here = kept[step].any(0)
    return kept


def largest(carried: "np.ndarray", first: int, last: int, most: int) -> Edges:
    """The `most` largest edges between nodes `first` to `last` - 1."""
    import numpy as np

    inside = carried[:, first:last, first:last]
    flat = inside.reshape(-1)
    there = int((flat > 0).sum())
    count = min(most, there)
    order = np.argpartition(-flat, count - 1)[:count] if 0 < count < flat.size else np.flatnonzero(flat > 0)
    order = order[np.argsort(-flat[order], kind="stable")]
    step, query, key = np.unravel_index(order, inside.shape)
    total = float(carried.sum())
    return Edges(
        step=step,
        query=query + first,
        key=key + first,
        value=flat[order],
        left_out=there - count,
        elsewhere=1 - float(inside.sum()) / total if total > 0 else 0.0,
    )
