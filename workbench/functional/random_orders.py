"""What chance alone shows of waves: the same values in random order, many times."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole
from workbench.functional.fourier_bases import fourier_basis
from workbench.functional.frequency_planes import detrended, frequency_plane, need_table
from workbench.functional.spectra import DEAD, power_spectrum, real_values

_AT_ONCE = 2**24  # numbers of a few random orders together


@dataclass(frozen=True, eq=False, kw_only=True)
class ShuffledPlanes:
    """One frequency of the same values in many random orders: what chance alone shows."""

    share: Float[Tensor, "draw"]
    """Power of the frequency over all power but the constant's; NaN where all values are alike."""
    roundness: Float[Tensor, "draw"]
    """Smaller over larger length of its cos and sin part; NaN where the frequency has no power."""


def shuffled_power(
    table: Real[Tensor, "value d"], draws: int, *, seed: int, detrend: bool = False
) -> Float[Tensor, "draw frequency"]:
    """The power at each frequency of a table whose values stand in random order, once for each draw; centred.

    What chance alone would show. On average every component but the constant has as much as any other.
    """
    need_table(table)
    shuffled = _shuffled(_narrow(real_values(table)), draws, seed, detrend)
    return torch.cat([power_spectrum(some, dim=-2).sum(-1) for some in shuffled])


def shuffled_shares(
    table: Real[Tensor, "value d"], draws: int, *, seed: int, detrend: bool = False
) -> Float[Tensor, "draw"]:
    """The largest share of one frequency in a table whose values stand in random order, once for each draw.

    A share above most of these belongs to the order. NaN where all values are alike.
    """
    power = shuffled_power(table, draws, seed=seed, detrend=detrend)
    whole = power.sum(-1)
    return power.amax(-1) / whole.masked_fill(whole < DEAD**2, torch.nan)


def shuffled_planes(
    table: Real[Tensor, "value d"], frequency: int, draws: int, *, seed: int, detrend: bool = False
) -> ShuffledPlanes:
    """How large and how round one frequency is in a table whose values stand in random order, once for each draw.

    In many dimensions the two parts of any frequency are about as long as each other and at right angles: a circle is
    news where it is rounder than most of these and has a larger share.
    """
    frequency_plane(table, frequency)  # refuses what has no plane
    table = real_values(table)
    rows = fourier_basis(len(table), table.dtype, table.device).rows([frequency])  # (cos and sin, value)
    found = []
    for shuffled in _shuffled(table - table.mean(0), draws, seed, detrend):
        waves = torch.einsum("wv,...vd->...wd", rows, shuffled)
        lengths = torch.linalg.svdvals(waves)
        larger = lengths[:, 0]
        smaller = lengths[:, 1] if lengths.shape[1] > 1 else torch.zeros_like(larger)
        whole = shuffled.square().sum((-1, -2))
        share = waves.square().sum((-1, -2)) / whole.masked_fill(whole < DEAD**2, torch.nan)
        found.append(torch.stack([share, smaller / larger.masked_fill(larger < DEAD, torch.nan)]))
    share, roundness = torch.cat(found, dim=1)
    return ShuffledPlanes(share=share, roundness=roundness)


def _shuffled(table: Tensor, draws: int, seed: int, detrend: bool) -> Iterator[Tensor]:
    """The table (some draws, value, d) in random orders, a few at a time."""
    need_whole("draws", draws)
    if draws < 1:
        raise BadInput(f"draws is a whole number of at least 1, not {draws}.")
    generator = torch.Generator().manual_seed(seed)
    orders = torch.rand(draws, len(table), generator=generator).argsort(-1).to(table.device)
    for some in orders.split(max(1, _AT_ONCE // table.numel())):
        yield detrended(table[some]) if detrend else table[some]


def _narrow(table: Tensor) -> Tensor:
    """A table of no more columns than rows with the same spectrum: distances between rows are all that counts."""
    if table.shape[0] >= table.shape[1]:
        return table
    u, s, _ = torch.linalg.svd(table - table.mean(0), full_matrices=False)
    return u * s
