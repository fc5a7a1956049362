"""What the graph of tokens shows of one node, in each of the three ways of following attention down to the input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.views.flow_edges import reached, rollout_edges, with_residual

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

WAYS = {"flow": "flow", "rollout": "rollout", "raw": "raw attention"}
RESIDUAL = 0.5
TOGETHER = 96
"""Tokens up to which the flows to all of them are drawn at once: each is found by itself."""
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
    raw: "np.ndarray", way: str, level: int, node: int, source: int | None, among: tuple[int, int] | None = None
) -> Followed:
    """`node` above `level` steps of `raw` attention (step, node, node), `way` being a key of `WAYS`.

    Without a source, flow is that to all tokens together; in prompts of more than `TOGETHER` tokens it is that to one
    `among` those shown (from, up to): the largest flow that is not saturated.
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
    return _flow(maps, level, node, source, among or (0, maps.shape[-1]))


def frame_of(one: Followed, tokens: Sequence[str], steps: Sequence[str], level: int, node: int) -> "pd.DataFrame":
    """One row for each number under the tokens, then one for each edge that carries something."""
    import numpy as np
    import pandas as pd

    step, query, key = np.nonzero(one.carried)
    names, words = np.array(steps, dtype=object), np.array(tokens, dtype=object)
    every = np.arange(len(tokens))
    rows = {
        "quantity": np.repeat(["number", "edge"], [len(every), len(step)]),
        "step": np.concatenate([np.repeat(names[level - 1], len(every)), names[step]]),
        "query": np.concatenate([np.full(len(every), node), query]),
        "key": np.concatenate([every, key]),
        "value": np.concatenate([one.numbers, one.carried[step, query, key]]),
    }
    return pd.DataFrame(rows).assign(query_token=words[rows["query"]], key_token=words[rows["key"]])


def _flow(maps: "np.ndarray", level: int, node: int, source: int | None, among: tuple[int, int]) -> Followed:
    import torch

    from workbench import functional

    graph = torch.from_numpy(maps)
    numbers = functional.cumulative_flow(graph, layers=[level - 1], targets=[node])[0, 0].numpy()
    if source is None and len(numbers) > TOGETHER:
        source = telling(numbers, node, *among)
    return Followed(
        carried=functional.flow_edges(graph, level - 1, node, source).numpy(),
        numbers=numbers,
        source=source,
        what="flow" if source is not None else "share of all flows",
        said=_saturated(numbers, source),
    )


def telling(numbers: "np.ndarray", node: int, first: int, last: int) -> int:
    """The token from `first` to `last` - 1 of the largest flow that is not saturated, `node`'s own aside, if any is."""
    order = [i for i in numbers.argsort()[::-1].tolist() if first <= i < last]
    return next((i for i in order if i != node and 0 < numbers[i] < _FULL), order[0])


def _saturated(numbers: "np.ndarray", source: int | None) -> str:
    full = int((numbers >= _FULL).sum())
    edges = (
        "Edges: a maximum flow to each token, all together, as shares of their sum; click a token for the flow to it."
        if source is None
        else f"Edges: one maximum flow to the token at position {source}; there may be others as large."
    )
    said = (
        f"{edges} Each number is the most that can pass from the node to that token alone, 1 at most; the numbers are"
        " no parts of a whole, 'share' divides them by their sum."
    )
    if full < 2:
        return said
    return f"{said} {full} of {len(numbers)} tokens are saturated at 1: flow cannot tell them apart; rollout can."
