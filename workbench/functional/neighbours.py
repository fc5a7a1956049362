"""Which keys a query is nearest to, and which queries a key, in the head's own space and not in a picture of it.

Nearness is the dot product (what attention is made of), the cosine (the angle alone) or the Euclidean distance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_finite, need_mask, need_whole

By = Literal["dot", "cosine", "euclidean"]
BLOCK = 2**20
"""Pairs at a time, in double precision: 8 MiB."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Nearest:
    """The nearest of each point, the nearest first; of equally near ones, the first."""

    indices: Int[Tensor, "*batch point k"]
    """-1 where fewer than k are allowed."""
    values: Float[Tensor, "*batch point k"]
    """Dot products or cosines, which fall, or Euclidean distances, which rise. NaN where the index is -1."""


@torch.no_grad()
def nearest_keys(
    queries: Real[Tensor, "*batch query d"],
    keys: Real[Tensor, "*batch key d"],
    k: int = 10,
    by: By = "dot",
    *,
    mask: Bool[Tensor, "#query #key"] | None = None,
) -> Nearest:
    """The k keys nearest to each query, by dot product, cosine or Euclidean distance.

    `mask` says which keys a query may have: one row for all queries, or a row for each. The cosine with a zero vector,
    which has no angle, is 0. Computed in double precision, a block of pairs at a time; time grows with query * key * d.
    """
    return _nearest(queries, keys, k, by, mask, "keys")


@torch.no_grad()
def nearest_queries(
    queries: Real[Tensor, "*batch query d"],
    keys: Real[Tensor, "*batch key d"],
    k: int = 10,
    by: By = "dot",
    *,
    mask: Bool[Tensor, "#query #key"] | None = None,
) -> Nearest:
    """The k queries nearest to each key: `nearest_keys` the other way round, with the same (query, key) `mask`."""
    return _nearest(keys, queries, k, by, None if mask is None else mask.T if mask.ndim == 2 else mask, "queries")


def directions(points: Float[Tensor, "*batch point d"]) -> Float[Tensor, "*batch point longer"]:
    """Points with a norm of one; zero vectors, which have no direction, get one of their own on an axis added last."""
    points = points / power_of_two(points, -1)
    norms = points.norm(dim=-1, keepdim=True)
    own = (norms == 0).to(points.dtype)
    return torch.cat([points / (norms + own), own], -1)


def power_of_two(x: Float[Tensor, "..."], dims: int | tuple[int, ...]) -> Float[Tensor, "..."]:
    """The size of the largest number along `dims`, down to a power of two: what is divided by it loses no digit, and
    its squares are neither infinite nor 0.
    """
    half = x.abs().amax(dims, keepdim=True).clamp(min=4 * torch.finfo(x.dtype).tiny) / 2
    return half / half.frexp().mantissa


def in_double(x: Tensor) -> Tensor:
    """The same in double precision; on the CPU where its own device has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _nearest(asking: Tensor, asked: Tensor, k: int, by: str, mask: Tensor | None, what: str) -> Nearest:
    _check(asking, asked, k, by, what)
    n_asking, n_asked = asking.shape[-2], asked.shape[-2]
    indices = torch.full((*asking.shape[:-1], k), -1, device=asking.device)
    dtype = torch.promote_types(asking.dtype, torch.float32)
    values = torch.full(indices.shape, torch.nan, dtype=dtype, device=asking.device)
    if mask is not None:
        mask = _expanded(mask, n_asking, n_asked)
    pairs = (x.reshape(-1, *x.shape[-2:]) for x in (asking, asked))
    for head, (some, all_) in enumerate(zip(*pairs, strict=True)):
        for rows, near in _blocks(some, all_, by):
            where, found = _largest(near if mask is None else near.where(mask[rows].to(near.device), -torch.inf), k)
            where[found == -torch.inf] = -1
            found = found.masked_fill(where == -1, torch.nan)
            filled = head, rows, slice(0, where.shape[-1])
            indices.view(-1, n_asking, k)[filled] = where.to(indices.device)
            values.view(-1, n_asking, k)[filled] = (found if by != "euclidean" else -found).to(values)
    return Nearest(indices=indices, values=values)


def _blocks(asking: Tensor, asked: Tensor, by: str) -> Iterator[tuple[slice, Tensor]]:
    """Rows of `asking` with how near (row, asked) each is to each: larger is nearer."""
    asking, asked = in_double(asking), in_double(asked)
    if by == "cosine":
        asking, asked = (directions(x)[..., :-1] for x in (asking, asked))
    step = max(1, BLOCK // len(asked))
    for start in range(0, len(asking), step):
        rows = slice(start, start + step)
        if by == "euclidean":  # from differences: what is equal is exactly 0 apart
            yield rows, -torch.cdist(asking[rows], asked, compute_mode="donot_use_mm_for_euclid_dist")
        else:
            yield rows, asking[rows] @ asked.mT


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Where the k largest of each row are (all, if there are fewer), and they; of equal ones the first comes first."""
    k = min(k, values.shape[-1])
    found, where = values.topk(min(k + 1, values.shape[-1]))
    tied = (found.diff() == 0).any(-1)  # `topk` takes any of equal ones
    if tied.any():
        found[tied], where[tied] = (
            x[:, : found.shape[-1]] for x in values[tied].sort(stable=True, dim=-1, descending=True)
        )
    return where[:, :k], found[:, :k]


def _check(asking: Tensor, asked: Tensor, k: int, by: str, what: str) -> None:
    if min(asking.ndim, asked.ndim) < 2 or asking.shape[:-2] != asked.shape[:-2] or asking.shape[-1] != asked.shape[-1]:
        raise BadInput(
            f"Queries and keys are points of the same space, one set a head: {tuple(asking.shape)} and "
            f"{tuple(asked.shape)} do not agree. Repeat the keys of grouped queries with `repeat_kv`."
        )
    if 0 in asking.shape or 0 in asked.shape:
        raise BadInput(
            f"Nothing is near where there is nothing: shapes {tuple(asking.shape)} and {tuple(asked.shape)}."
        )
    need_whole("k", k)
    if k < 1:
        raise BadInput(f"Ask for one of the {what} at least, not {k}.")
    if by not in ("dot", "cosine", "euclidean"):
        raise BadInput(f"Nearness is by 'dot', 'cosine' or 'euclidean', not {by!r}.")
    for x in (asking, asked):
        need_finite("queries or keys", x)


def _expanded(mask: Tensor, n_asking: int, n_asked: int) -> Tensor:
    need_mask(mask)
    if mask.ndim != 2 or mask.shape[0] not in (1, n_asking) or mask.shape[1] not in (1, n_asked):
        raise BadInput(f"A mask of shape {tuple(mask.shape)} does not fit {n_asking} points by {n_asked} asked for.")
    return mask.expand(n_asking, n_asked)
