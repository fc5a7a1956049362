"""How few frequencies something is made of: the inverse participation ratio, which tells waves from noise."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.spectra import DEAD, real_values


def inverse_participation_ratio(
    values: Real[Tensor, "..."],
    dim: int = -1,
    spectrum: Literal["rfft", "fft"] = "rfft",
    *,
    constant: bool = True,
) -> Float[Tensor, "..."]:
    """How few frequencies values along `dim` are made of: (|x|_4 / |x|_2)^4 of the sizes x of their transform.

    The values are transformed here. "rfft" has each frequency once, as the code of the paper: 1 for a single wave, and
    at 97 values 1/49 for a single spike and about .040 for noise. "fft" has a wave twice: .5, 1/97, and .0203. What is
    constant has 1 in both, unless `constant` is false: then the mean does not count. Shifts around the circle and
    scales change nothing. NaN where dead, of a norm below 1e-8: `is_dead` says which.
    Reference: Doshi et al. (2024), "To grok or not to grok: Disentangling generalization and memorization on corrupted
    algorithmic datasets".
    """
    if spectrum not in ("rfft", "fft"):
        raise BadInput(f"The spectrum is 'rfft' (each frequency once) or 'fft' (twice), not {spectrum!r}.")
    given, size = _counted(values, dim, constant)
    lengths = given.norm(dim=-1, keepdim=True)
    given = given / lengths.masked_fill(lengths * size < DEAD, torch.nan)
    squares = (torch.fft.rfft if spectrum == "rfft" else torch.fft.fft)(given).abs().square()
    return squares.square().sum(-1) / squares.sum(-1).square()


def is_dead(values: Real[Tensor, "..."], dim: int = -1, *, constant: bool = True) -> Bool[Tensor, "..."]:
    """Which of the rows along `dim` are of a norm below 1e-8, so that nothing is said of their spectrum.

    With `constant` false, of the differences from the mean.
    """
    given, size = _counted(values, dim, constant)
    return (given.norm(dim=-1, keepdim=True) * size < DEAD).squeeze(-1)


def _counted(values: Tensor, dim: int, constant: bool) -> tuple[Float[Tensor, "*rest n"], Float[Tensor, "*rest 1"]]:
    """Rows over the power of two below their largest entry, which rounds nothing, and that power."""
    if not -values.ndim <= dim < values.ndim or not values.shape[dim]:
        raise BadInput(f"There are no values along axis {dim} of shape {tuple(values.shape)}.")
    rows = real_values(values).movedim(dim, -1)
    exponents = torch.frexp(rows.detach().abs().amax(-1, keepdim=True)).exponent
    size = torch.ldexp(torch.ones_like(exponents, dtype=rows.dtype), exponents - 1)
    rows = rows / size
    return (rows if constant else rows - rows.mean(-1, keepdim=True)), size
