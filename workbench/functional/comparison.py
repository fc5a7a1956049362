"""Whether two scores agree on the order of the tokens: rank correlations that respect ties and say what is undefined.

Entries where either score is NaN are left out of both. A correlation with a constant score, or of fewer than two
entries, is undefined: NaN, never 0.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from workbench.functional.precision import precise


@dataclass(frozen=True, eq=False, kw_only=True)
class CountedMean:
    """A mean of what is defined, and over how many it was taken."""

    mean: Float[Tensor, "*rest"]
    """NaN where nothing is defined."""
    count: Int[Tensor, "*rest"]
    """Values in the mean."""
    undefined: Int[Tensor, "*rest"]
    """Values left out because they are NaN."""


def counted_mean(values: Real[Tensor, "..."], dim: int = -1) -> CountedMean:
    """The mean along `dim` of the values that are not NaN, with how many are and are not."""
    undefined = values.isnan()
    count = (~undefined).sum(dim)
    return CountedMean(
        mean=precise(values).where(~undefined, 0.0).sum(dim) / count, count=count, undefined=undefined.sum(dim)
    )


def average_ranks(
    values: Real[Tensor, "*batch entry"], mask: Bool[Tensor, "*batch entry"] | None = None
) -> Float[Tensor, "*batch entry"]:
    """The rank of each entry, from 1 for the smallest; equal entries share the mean of the ranks they take up.

    NaN where the entry is NaN or `mask` is false; such entries take up no rank.
    """
    valid = ~values.isnan() if mask is None else mask & ~values.isnan()
    filled = precise(values).masked_fill(~valid, torch.inf).contiguous()
    ordered = filled.sort(-1).values
    before = torch.searchsorted(ordered, filled)
    up_to = torch.searchsorted(ordered, filled, right=True).minimum(valid.sum(-1, keepdim=True))  # of the valid only
    return ((before + up_to + 1).to(filled.dtype) / 2).masked_fill(~valid, torch.nan)


def spearman(
    a: Real[Tensor, "*batch entry"],
    b: Real[Tensor, "*batch entry"],
    mask: Bool[Tensor, "*batch entry"] | None = None,
) -> Float[Tensor, "*batch"]:
    """How well two scores agree in order, from -1 to 1: Pearson's correlation of average ranks (Spearman's rho).

    The shortcut 1 - 6 sum(d^2) / (n (n^2 - 1)) is not used: it is wrong as soon as there are ties.
    """
    valid = _both(a, b, mask)
    n = valid.sum(-1, keepdim=True)
    real = torch.promote_types(precise(a).dtype, precise(b).dtype)
    # Ranks have the mean (n + 1) / 2 exactly, so a constant score leaves exactly 0, and 0 / 0 is NaN.
    x, y = ((average_ranks(one, valid).to(real) - (n + 1) / 2) / n for one in (a, b))
    x, y = x.masked_fill(~valid, 0.0), y.masked_fill(~valid, 0.0)
    # The root of one product, not a product of roots: the root of a square is exact, so equal ranks give exactly 1.
    return ((x * y).sum(-1) / ((x * x).sum(-1) * (y * y).sum(-1)).sqrt()).clamp(-1, 1)


def kendall(
    a: Real[Tensor, "*batch entry"],
    b: Real[Tensor, "*batch entry"],
    mask: Bool[Tensor, "*batch entry"] | None = None,
) -> Float[Tensor, "*batch"]:
    """How many more pairs two scores put in the same order than in the opposite one, as a share (Kendall's tau-b).

    Pairs tied in one score count in the other's total only: (same - opposite) / sqrt(untied in a * untied in b).
    O(entry^2) time, O(entry) memory.
    """
    valid = _both(a, b, mask)
    agreement, untied_a, untied_b = (torch.zeros_like(valid, dtype=torch.int64).sum(-1) for _ in range(3))
    for shift in range(1, a.shape[-1]):
        both = valid[..., shift:] & valid[..., :-shift]
        up, beside = ((_sign(one[..., shift:], one[..., :-shift]) * both) for one in (a, b))
        agreement += (up * beside).sum(-1)
        untied_a += up.abs().sum(-1)
        untied_b += beside.abs().sum(-1)
    real = torch.promote_types(precise(a).dtype, precise(b).dtype)
    return (agreement.to(real) / (untied_a.to(real) * untied_b.to(real)).sqrt()).clamp(-1, 1)


def _both(a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    defined = ~(a.isnan() | b.isnan())
    return defined if mask is None else defined & mask


def _sign(x: Tensor, y: Tensor) -> Tensor:
    return (x > y).to(torch.int64) - (x < y).to(torch.int64)  # and not of x - y: inf - inf is NaN
