"""The plane in which a table of n ordered values turns at one frequency."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_finite, need_whole
from workbench.functional.fourier_bases import fourier_basis
from workbench.functional.spectra import DEAD, real_values


@dataclass(frozen=True, eq=False, kw_only=True)
class FrequencyPlane:
    """Each value in the plane of one frequency."""

    coordinates: Float[Tensor, "value axis"]
    """The centred table along two orthonormal directions: that of its cos, and what is left of that of its sin. A
    perfect circle of frequency k has value v at the angle 2 pi k v / n."""
    held: float
    """Share of the table's squared distance from its mean that lies in this plane; NaN where there is none."""
    roundness: float
    """Smaller over larger length of the cos and sin part: 1 for a circle, 0 for a line, as that of the highest
    frequency of an even n always is; NaN where the frequency has no power."""


def frequency_plane(table: Real[Tensor, "value d"], frequency: int) -> FrequencyPlane:
    """Where each value lies in the plane spanned by the cos and sin of one frequency, and how far that is a circle."""
    need_table(table)
    need_whole("frequency", frequency)
    n = table.shape[0]
    if not 1 <= frequency <= n // 2:
        raise BadInput(f"Frequencies of {n} values are 1 to {n // 2}, not {frequency}.")
    centred = real_values(table) - real_values(table).mean(0)
    waves = fourier_basis(n, centred.dtype, centred.device).rows([frequency]) @ centred  # (cos and sin, d)
    whole = float(centred.norm())
    cos = waves[0]
    sin = waves[1] if len(waves) > 1 else torch.zeros_like(cos)
    first = _direction(cos, whole)
    second = _direction(sin - (sin @ first) * first, whole)
    coordinates = centred @ torch.stack([first, second], dim=1)
    lengths = torch.linalg.svdvals(torch.stack([cos, sin]))
    smaller, larger = (float(lengths[1]), float(lengths[0])) if len(lengths) > 1 else (0.0, float(lengths[0]))
    return FrequencyPlane(
        coordinates=coordinates,
        held=float(coordinates.norm()) ** 2 / whole**2 if whole >= DEAD else torch.nan,
        roundness=smaller / larger if larger >= DEAD else torch.nan,
    )


def detrended(table: Real[Tensor, "*batch value d"]) -> Float[Tensor, "*batch value d"]:
    """A table less the straight line along its ordered values that fits each column best, and less its mean."""
    if table.ndim < 2 or table.shape[-2] < 2:
        raise BadInput(f"A trend needs two values or more along (value, d), not a shape of {tuple(table.shape)}.")
    table = real_values(table)
    centred = table - table.mean(-2, keepdim=True)
    steps = torch.linspace(-1, 1, table.shape[-2], dtype=table.dtype, device=table.device)
    steps = steps / steps.norm()
    return centred - steps[:, None] * torch.einsum("v,...vd->...d", steps, centred)[..., None, :]


def _direction(along: Tensor, whole: float) -> Tensor:
    """A unit vector; zero where there is next to nothing of it."""
    length = along.norm()
    return along / length if float(length) > max(DEAD, whole * torch.finfo(along.dtype).eps * 16) else along * 0


def need_table(table: Tensor) -> None:
    """Refuse what has no order to speak of: fewer than three values, no columns, NaN or infinity."""
    if table.ndim != 2 or table.shape[0] < 3 or table.shape[1] < 1:
        raise BadInput(f"A table has the axes (value, d) and three values or more, not the shape {tuple(table.shape)}.")
    need_finite("values", table)
