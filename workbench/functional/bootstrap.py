"""How far a statistic of a sample can be trusted: percentile intervals by drawing the sample again from itself.

Reference: Efron (1979), "Bootstrap Methods: Another Look at the Jackknife".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.precision import precise


@dataclass(frozen=True, eq=False, kw_only=True)
class Interval:
    """A statistic with the interval that its resamples fall in."""

    value: Float[Tensor, "*rest"]
    """Of the sample itself; NaN where nothing in it is defined."""
    low: Float[Tensor, "*rest"]
    """Lower end; NaN where fewer than two values are defined, which say nothing about spread."""
    high: Float[Tensor, "*rest"]
    count: Int[Tensor, "*rest"]
    """Values (or pairs) in the sample."""
    undefined: Int[Tensor, "*rest"]
    """Values (or pairs) left out because they are NaN."""


def bootstrap_interval(
    values: Real[Tensor, "*batch sample"],
    *,
    statistic: Callable[..., Any] = torch.mean,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic of each sample and the interval that holds the middle `level` of its resamples.

    NaN are left out and counted, infinities refused. `statistic(x, dim=-1)` reduces the last axis, as `torch.mean` and
    `torch.median` do. The draws depend on the seed and the number of values alone, so a sample has the same interval by
    itself and in a batch.
    """
    return _interval((values,), lambda parts: _of(statistic, parts[0]), level, resamples, seed)


def bootstrap_difference(
    a: Real[Tensor, "*batch sample"],
    b: Real[Tensor, "*batch sample"],
    *,
    statistic: Callable[..., Any] = torch.mean,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """How much two paired samples differ, statistic(a) - statistic(b), drawing pairs: the same prompts for both.

    Pairs of which either is NaN are left out and counted. Otherwise as `bootstrap_interval`.
    """
    if a.shape != b.shape:
        raise BadInput(
            f"Pairs need as many values of both: these are of shapes {tuple(a.shape)} and {tuple(b.shape)}. "
            "Give the same prompts in the same order, NaN where one has no value."
        )

    def difference(parts: tuple[Tensor, ...]) -> Tensor:
        return _of(statistic, parts[0]) - _of(statistic, parts[1])

    return _interval((a, b), difference, level, resamples, seed)


def _interval(
    samples: tuple[Tensor, ...],
    statistic: Callable[[tuple[Tensor, ...]], Tensor],
    level: float,
    resamples: int,
    seed: int,
) -> Interval:
    if not 0 < level < 1:
        raise BadInput(f"The level of an interval is a share between 0 and 1, such as 0.95, not {level}.")
    if resamples < 1:
        raise BadInput(f"An interval needs at least one resample, not {resamples}.")
    samples = tuple(precise(one) for one in samples)
    infinite = sum(int(one.isinf().sum()) for one in samples)
    if infinite:
        raise BadInput(
            f"An interval is of finite values, and {infinite} of these are infinite: "
            "find out where they come from, or make them NaN to have them left out and counted."
        )
    rest, n = samples[0].shape[:-1], samples[0].shape[-1]
    stacked = torch.stack([one.reshape(rest.numel(), n) for one in samples])  # (part, row, sample)
    ends = stacked.new_tensor([(1 - level) / 2, (1 + level) / 2])
    draws: dict[int, Tensor] = {}
    rows: list[Tensor] = []
    counts = (~stacked.isnan().any(0)).sum(-1)
    for row, count in zip(stacked.unbind(1), counts.tolist(), strict=True):
        parts = row[:, ~row.isnan().any(0)]  # (part, count)
        found = stacked.new_full((3,), torch.nan)
        if count:
            found[0] = statistic(tuple(parts))
        if count > 1:
            if count not in draws:
                draws[count] = _draws(count, resamples, seed).to(parts.device)
            found[1:] = statistic(tuple(part[draws[count]] for part in parts)).quantile(ends)
        rows.append(found)
    value, low, high = torch.stack(rows).unbind(-1) if rows else stacked.new_empty(3, 0)
    return Interval(
        value=value.reshape(rest),
        low=low.reshape(rest),
        high=high.reshape(rest),
        count=counts.reshape(rest),
        undefined=(n - counts).reshape(rest),
    )


def _of(statistic: Callable[..., Any], values: Tensor) -> Tensor:
    """The statistic over the last axis; where it comes with its place, as of `torch.median`, without that."""
    found = statistic(values, dim=-1)
    return found[0] if isinstance(found, tuple) else found


def _draws(count: int, resamples: int, seed: int) -> Any:
    """Which values each resample holds, (resample, count); on the CPU, so that a seed means the same everywhere."""
    return torch.randint(count, (resamples, count), generator=torch.Generator().manual_seed(seed))
