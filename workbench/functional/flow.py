"""How much of each input token can reach each position at most: maximum flow through the stack of attention maps.

Patterns are (*batch, layer, head, query, key), maps (*batch, layer, query, key) with the residual mixed in, as in
rollout. F_l[f, t] is the maximum flow from node (l, f) to token t in the graph whose edge from (l, f) to (l - 1, t)
has capacity A_l[f, t]: exact, each value proved by a cut of the same capacity. Flow saturates: it is never above the
capacity 1 of the position it starts from, nor above what the first layer takes from the token. It is never below
rollout.
Reference: Abnar & Zuidema (2020), "Quantifying Attention Flow in Transformers".
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import product
from operator import index
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench import progress
from workbench.errors import BadInput
from workbench.functional.rollout import attention_maps, with_residual

if TYPE_CHECKING:
    import numpy as np

PAIRS_AT_ONCE = 512
"""Flows found between two looks at whether the work is to stop: some hundredths of a second at 128 tokens."""


def attention_flow(
    patterns: Real[Tensor, "*batch layer head query key"],
    residual: float = 0.5,
    layers: Sequence[int] | int | None = None,
    targets: Sequence[int] | int | None = None,
    normalize: bool = False,
) -> Float[Tensor, "*batch chosen_layer target key"]:
    """The most of each input token that can reach each position after each layer: heads averaged, residual mixed in.

    `layers` and `targets` are the layers and the query positions of the result, negative ones counted from the end;
    none: all; one alone keeps its axis. `normalize` divides rows by their sum, those of the maps as in `with_residual`
    and those of the result: shares then, not amounts. Values are exact to 1e-9 (in the precision of rollout); the first
    layer's are its map.
    Cost: a maximum flow for each layer, target and token, some hundredths of a millisecond each at 12 layers and 128
    tokens, in as many threads as torch uses; the first call compiles for some seconds. No gradient passes through.
    """
    maps = attention_maps(patterns.detach(), normalize=normalize)
    flows = cumulative_flow(with_residual(maps, residual, normalize), layers, targets)
    if not normalize:
        return flows
    sums = flows.sum(-1, keepdim=True)
    return flows / sums.where(sums > 0, 1.0)


def cumulative_flow(
    maps: Real[Tensor, "*batch layer query key"],
    layers: Sequence[int] | int | None = None,
    targets: Sequence[int] | int | None = None,
) -> Float[Tensor, "*batch chosen_layer target key"]:
    """Maximum flow from each position after each layer to each token, through maps taken as they are.

    For maps that are mixed already, such as those of `joint_maps`; any capacities that are not negative will do.
    """
    maps = maps if maps.is_floating_point() else maps.float()
    capacity, scale = _capacities(maps)
    *batch, n_layers, n, _ = capacity.shape
    chosen = _chosen("layer", layers, n_layers)
    queries = _chosen("target", targets, n)
    values = maps.detach().new_empty((*batch, len(chosen), len(queries), n), device="cpu", dtype=torch.float64)
    works: list[Callable[[], None]] = []
    for place in product(*map(range, batch)):
        for i, layer in enumerate(chosen):
            if layer == 0:
                values[(*place, i)] = maps[(*place, 0)][queries].cpu()
            else:
                works += _parts(capacity[place][: layer + 1], scale, queries, values[(*place, i)])
    with closing(_done(works)) as done:
        for _ in progress.track(done, total=len(works), label="flows"):
            pass
    return values.to(maps)


def flow_edges(
    maps: Float[Tensor, "layer query key"], layer: int, target: int, source: int | None = None
) -> Float[Tensor, "layer_below query key"]:
    """What each edge of the graph carries in one maximum flow from a target, after `layer`, down to a source token.

    Layers from the first to `layer`. What enters a node leaves it, no edge carries more than its map says, and what
    the top edges carry sums to the flow. There may be other flows as large: this one goes down its own column where it
    can, and else to the earliest position. Without a source: the flows to all sources together, as shares of their sum,
    so that each layer's edges sum to one and the bottom ones give the target's row of normalised flow.
    """
    from workbench.functional import flow_kernel

    capacity, scale = _capacities(maps)
    *_, n_layers, n, _ = capacity.shape
    (top,), (start,) = _chosen("layer", [layer], n_layers), _chosen("target", [target], n)
    ends = range(n) if source is None else _chosen("source", [source], n)
    edges = maps.new_zeros((top + 1, n, n), dtype=torch.float64, device="cpu")
    for end in ends:
        if top == 0:
            edges[0, start, end] += maps[0, start, end].item()
        else:
            _, carried = flow_kernel.one_flow(capacity[: top + 1], start, end)
            edges += torch.from_numpy(carried / scale)
    total = edges[0].sum()
    return (edges / total if source is None and total > 0 else edges).to(maps)


def _capacities(maps: Tensor) -> tuple["np.ndarray", float]:
    """Maps as whole numbers, as fine as sums of them fit into 64 bits, and how many of these make one."""
    import numpy as np

    if maps.shape[-1] != maps.shape[-2]:
        raise BadInput(f"Flow needs maps with as many queries as keys, not {maps.shape[-2]} by {maps.shape[-1]}.")
    if not maps.numel():
        raise BadInput(f"There is no attention in maps of shape {tuple(maps.shape)}.")
    exact = maps.detach().to("cpu", torch.float64).numpy()
    if not exact.min() >= 0 or np.isinf(exact).any():  # NaN is not
        raise BadInput("Capacities must be numbers that are not negative; there are negative ones, NaN or infinity.")
    most = max(exact.sum(-1).max(), exact.sum(-2).max(), 1.0)  # no flow and no cut in use is larger
    scale = 2.0 ** (61 - np.ceil(np.log2(most)))
    return np.ascontiguousarray(np.rint(exact * scale).astype(np.int64)), float(scale)


def _chosen(what: str, asked: Sequence[int] | int | None, count: int) -> list[int]:
    """Indices from 0, of those asked for."""
    if asked is None:
        return list(range(count))
    try:
        chosen = [index(i) for i in asked] if isinstance(asked, Iterable) else [index(asked)]
    except TypeError:
        raise BadInput(f"A {what} is a whole number from 0 to {count - 1}, or several: not {asked!r}.") from None
    for i in chosen:
        if not -count <= i < count:
            raise BadInput(f"There is no {what} {i}: there are {count}, 0 to {count - 1}.")
    return [i % count for i in chosen]


def _parts(capacity: "np.ndarray", scale: float, queries: list[int], values: Tensor) -> Iterator[Callable[[], None]]:
    """The flows of one layer, a few sinks at a time; each part writes its columns of `values`."""
    import numpy as np

    def part(sinks: "np.ndarray") -> Callable[[], None]:
        def work() -> None:
            from workbench.functional import flow_kernel

            found = flow_kernel.flow_values(capacity, sources, sinks)
            if found.min() < 0:
                raise RuntimeError("A flow was found that no cut proves. Please report the maps that led to this.")
            values[:, torch.from_numpy(sinks)] = torch.from_numpy(found / scale)

        return work

    sources = np.array(queries, dtype=np.int64)
    if not len(sources):
        return
    size = max(1, PAIRS_AT_ONCE // len(sources))
    for first in range(0, capacity.shape[-1], size):
        yield part(np.arange(first, min(first + size, capacity.shape[-1])))


def _done(works: list[Callable[[], None]]) -> Generator[None, None, None]:
    """Each work, done, in as many threads as torch uses; those not begun are dropped when nobody asks any more."""
    threads = min(torch.get_num_threads(), len(works))
    if threads <= 1:
        yield from (work() for work in works)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(lambda work: work(), works)
    finally:
        pool.shutdown(cancel_futures=True)
