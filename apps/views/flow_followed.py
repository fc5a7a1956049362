"""What the graph of tokens shows of one node, in each of the three ways of following attention down to the input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.views.flow_edges import flow_edges, reached, rollout_edges, with_residual

if TYPE_CHECKING:
    import numpy as np

WAYS = {"flow": "flow", "rollout": "rollout", "raw": "raw attention"}
RESIDUAL = 0.5
_FULL = 1 - 1e-4


@dataclass(frozen=True, eq=False, kw_only=True)
class Followed:
    """What the picture shows of the explained node."""

    carried: "np.ndarray"
    """(level, node, node): what each edge carries."""
    numbers: "np.ndarray"
    """(node,): what of each token reaches the explained node."""
    source: int | None
    """The token that edges lead to; None where they lead to all."""
    what: str
    said: str
    """How the numbers are read."""


def followed(
    raw: "np.ndarray",
    way: str,
    level: int,
    node: int,
    source: int | None,
    flows: "Callable[[], np.ndarray]",
) -> Followed:
    """`node` above `level` steps of `raw` attention (step, node, node), `way` being a key of `WAYS`.

    `flows` gives the maximum flow from the node to each token; a flow always has one source, if none is chosen that of
    the largest flow that is not saturated, the node's own token aside.
    """
    if way == "raw":
        return Followed(
            carried=reached(raw, level, node),
            numbers=raw[level - 1, node],
            source=source,
            what="weight",
            said="Every weight that leads down from the node, mean over heads; under the tokens, the node's own row.",
        )
    maps = with_residual(raw, RESIDUAL)
    if way == "rollout":
        everything = rollout_edges(maps, level, node)
        return Followed(
            carried=everything if source is None else rollout_edges(maps, level, node, source),
            numbers=everything[0].sum(0),
            source=source,
            what="share",
            said="All that leaves the node reaches the input: an edge carries a share of it, and the numbers sum to 1.",
        )
    numbers = flows()
    source = _telling(numbers, node) if source is None else source
    return Followed(
        carried=flow_edges(maps, level, node, source),
        numbers=numbers,
        source=source,
        what="flow",
        said=_saturated(numbers),
    )


def _telling(numbers: "np.ndarray", node: int) -> int:
    order = [i for i in numbers.argsort()[::-1].tolist() if i != node and numbers[i] < _FULL]
    return order[0] if order and numbers[order[0]] > 0 else int(numbers.argmax())


def _saturated(numbers: "np.ndarray") -> str:
    full = int((numbers >= _FULL).sum())
    said = (
        "Each number is the most that can pass from the node to that token alone, 1 at most. They are no parts of a"
        " whole: 'share' divides them by their sum."
    )
    if full < 2:
        return said
    return f"{said} {full} of {len(numbers)} tokens are saturated at 1: flow cannot tell them apart; rollout can."
