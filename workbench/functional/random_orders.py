"""How much of a table one frequency has and how round it is when the values stand in random order."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole
from workbench.functional.fourier_bases import fourier_basis
from workbench.functional.frequency_planes import detrended, frequency_plane
from workbench.functional.spectra import DEAD, real_values

_AT_ONCE = 2**24  # numbers of a few random orders together


@dataclass(frozen=True, eq=False, kw_only=True)
class ShuffledPlanes:
    """One frequency of the same values in many random orders: what chance alone shows."""

    share: Float[Tensor, "draw"]
    """Power of the frequency over all power but the constant's; NaN where all values are alike."""
    roundness: Float[Tensor, "draw"]
    """Smaller over larger length of its cos and sin part; NaN where the frequency has no power."""


def shuffled_planes(
    table: Real[Tensor, "value d"], frequency: int, draws: int, *, seed: int, detrend: bool = False
) -> ShuffledPlanes:
    """How large and how round one frequency is in a table whose values stand in random order, once for each draw.

    In many dimensions the two parts of any frequency are about as long as each other and at right angles: a circle is
    news where it is rounder than most of these and has a larger share.
    """
    frequency_plane(table, frequency)  # refuses what has no plane
    need_whole("draws", draws)
    if draws < 1:
        raise BadInput(f"draws is a whole number of at least 1, not {draws}.")
    table = real_values(table)
    n = len(table)
    rows = fourier_basis(n, table.dtype, table.device).rows([frequency])  # (cos and sin, value)
    orders = torch.rand(draws, n, generator=torch.Generator().manual_seed(seed)).argsort(-1).to(table.device)
    centred = table - table.mean(0)
    found = []
    for some in orders.split(max(1, _AT_ONCE // table.numel())):
        shuffled = detrended(centred[some]) if detrend else centred[some]
        waves = torch.einsum("wv,...vd->...wd", rows, shuffled)
        lengths = torch.linalg.svdvals(waves)
        larger = lengths[:, 0]
        smaller = lengths[:, 1] if lengths.shape[1] > 1 else torch.zeros_like(larger)
        whole = shuffled.square().sum((-1, -2))
        share = waves.square().sum((-1, -2)) / whole.masked_fill(whole < DEAD**2, torch.nan)
        found.append(torch.stack([share, smaller / larger.masked_fill(larger < DEAD, torch.nan)]))
    share, roundness = torch.cat(found, dim=1)
    return ShuffledPlanes(share=share, roundness=roundness)
