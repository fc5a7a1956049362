"""How far the states of a sequence are from all being one vector: what is left of them without their common part.

States are (*batch, pos, d). Half precision is computed in float32, double stays double.
Reference: Dong, Cordonnier & Loukas (2021), "Attention is not all you need: pure attention loses rank doubly
exponentially with depth".
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.functional.weight_products import effective_rank

Norm = Literal["fro", "1inf"]
Minimiser = Literal["mean", "median"]


@dataclass(frozen=True, eq=False, kw_only=True)
class RankResidual:
    """What is left of states when the vector that they share is taken off each."""

    absolute: Float[Tensor, "*batch"]
    """Norm of what is left, in units of the states."""
    relative: Float[Tensor, "*batch"]
    """The same over the norm of the states: 0 where all are the same; NaN where all are 0."""


def rank_residual(
    states: Float[Tensor, "*batch pos d"], norm: Norm = "fro", minimiser: Minimiser = "mean"
) -> RankResidual:
    """How far states are from one vector for all positions: the norm of what is left without their mean.

    "fro" is the Frobenius norm, "1inf" that of the paper (`mixed_norm`). The paper takes off the vector that makes the
    norm least; for "fro" that is the mean. For "1inf" it has no closed form: the mean stands in for it, as in the
    paper's code, or the median of each column, which makes the largest column sum least. Only the relative one can be
    compared across layers of a model with norms.
    """
    if norm not in get_args(Norm) or minimiser not in get_args(Minimiser):
        raise BadInput(
            f"The norm is 'fro' or '1inf' and the minimiser 'mean' or 'median', not {norm!r}, {minimiser!r}."
        )
    given = _sequence(states)
    apart = given - given[..., :1, :]  # first, so that states that are the same leave 0 and not the rounding of a mean
    apart = apart - (apart.mean(-2, keepdim=True) if minimiser == "mean" else _median(apart))
    size = mixed_norm if norm == "1inf" else torch.linalg.matrix_norm
    absolute, whole = size(apart), size(given)
    return RankResidual(absolute=absolute, relative=absolute / whole.masked_fill(whole == 0, torch.nan))


def mixed_norm(matrix: Float[Tensor, "*batch row column"]) -> Float[Tensor, "*batch"]:
    """The paper's composite norm: the root of the largest column sum of sizes times the largest row sum.

    ||A B|| <= ||A|| ||B||, and ||c A|| = |c| ||A||; a matrix of attention whose rows sum to one may have more than 1.
    It is no norm in the strict sense: the sum of two may have more than both together.
    """
    sizes = _sequence(matrix).abs()
    columns, rows = sizes.sum(-2).amax(-1), sizes.sum(-1).amax(-1)
    return columns.sqrt() * rows.sqrt()


def state_rank(states: Float[Tensor, "*batch pos d"], power: int = 2) -> Float[Tensor, "*batch"]:
    """How many directions states really use: `effective_rank` of their singular values, squared or as they are.

    Squared (`power` 2) they are shares of the sum of squares: 1 where all states point along one line. NaN where all
    are 0.
    """
    if power not in (1, 2):
        raise BadInput(f"Singular values count as they are (power 1) or squared (2), not to the power {power}.")
    return effective_rank(torch.linalg.svdvals(_sequence(states)) ** power)


def mean_cosine(states: Float[Tensor, "*batch pos d"]) -> Float[Tensor, "*batch"]:
    """How alike the directions of states are: the mean cosine of two different positions, 1 where all point one way.

    States of length 0 have no direction and are left out; NaN where fewer than two are left.
    """
    given = _sequence(states)
    lengths = given.norm(dim=-1, keepdim=True)
    there = lengths > 0
    units = torch.where(there, given / lengths.masked_fill(~there, 1.0), 0.0)
    count = there.sum((-2, -1))
    together = units.sum(-2).square().sum(-1) - count
    return together / (count * (count - 1)).to(given).masked_fill(count < 2, torch.nan)


def dobrushin(pattern: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch"]:
    """How little attention mixes: half the largest difference of two of its rows, summed over the keys.

    0 where all rows are the same (what any two queries get is the same), 1 where two rows share no key. Whatever v is
    read, max - min of P v is at most this share of max - min of v. Cost query^2 key.
    Dobrushin (1956), Central limit theorem for non-stationary Markov chains.
    """
    given = _sequence(pattern)
    flat = given.flatten(0, -3) if given.ndim > 3 else given
    return (torch.cdist(flat, flat, p=1.0).amax((-2, -1)) / 2).reshape(given.shape[:-2])


def collapse_exponents(
    relative: Float[Tensor, "*batch depth"], floor: float = 0.0
) -> tuple[Float[Tensor, "*batch step"], Int[Tensor, "*batch"]]:
    """The power by which each layer raises the residual: ln r[l + 1] / ln r[l], and how many of these are defined.

    3 is the rate of the paper's bound, 1 no collapse. NaN where either is at or below `floor`, where it is rounding
    that is measured, or where r[l] is 1 or more.
    """
    given = precise(relative)
    before, after = given[..., :-1], given[..., 1:]
    told = (before > floor) & (after > floor) & (before < 1)
    found = torch.where(told, after.log() / before.log(), torch.nan)
    return found, told.sum(-1)


def _median(states: Tensor) -> Tensor:
    """The median of each column, midway between the two in the middle where they are even in number."""
    ordered, n = states.sort(-2).values, states.shape[-2]
    return (ordered[..., (n - 1) // 2, None, :] + ordered[..., n // 2, None, :]) / 2


def _sequence(states: Tensor) -> Tensor:
    if states.ndim < 2 or 0 in states.shape:
        raise BadInput(f"These need two axes, (pos, d), with something along both; this is {tuple(states.shape)}.")
    return precise(states)
