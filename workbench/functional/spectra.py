"""How much of what is ordered is wave: coefficients and power along an axis of n ordered values, and over pairs.

Coefficients are those of `fourier_basis`, so that squares add up to the sum of squares. Half precision is computed in
float32, whole numbers in float64. Spectra of float32 hold about seven digits of the largest entry.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_frequencies, need_real
from workbench.functional.precision import precise

DEAD = 1e-8
"""What has a smaller norm than this is dead: nothing is said of its spectrum."""


def real_values(values: Tensor) -> Tensor:
    """Values in a type that a transform can be computed in; refuses complex ones."""
    need_real("Values", values)
    return precise(values)


def fourier_coefficients(values: Real[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """How much of each wave is in values along `dim`: the coefficients in `fourier_basis`, in the place of that axis.

    Components are the constant, cos 1, sin 1, cos 2, ...: as many as values, of the same sum of squares. By a real FFT.
    """
    n = _length(values, dim)
    waves = torch.view_as_real(torch.fft.rfft(real_values(values).movedim(dim, -1), norm="ortho"))
    waves = waves * waves.new_tensor([math.sqrt(2), -math.sqrt(2)])
    flat = waves.flatten(-2)  # cos 0, sin 0, cos 1, sin 1, ...
    found = torch.cat([flat[..., :1] / math.sqrt(2), flat[..., 2 : n + 1]], -1)
    if n % 2 == 0:
        found[..., -1] /= math.sqrt(2)
    return found.movedim(-1, dim)


def power_spectrum(values: Real[Tensor, "..."], dim: int = -1, centre: bool = True) -> Float[Tensor, "..."]:
    """How much of the squares of values along `dim` is of each frequency: entry k of n // 2 + 1, in place of that axis.

    With `centre` the mean is taken off first and entry 0 is 0, so that the sum is that of the squared differences from
    the mean; without it, that of the squares (Parseval).
    """
    n = _length(values, dim)
    given = real_values(values).movedim(dim, -1)
    if centre:
        given = given - given.mean(-1, keepdim=True)
    power = torch.view_as_real(torch.fft.rfft(given, norm="ortho")).square().sum(-1)
    power[..., 1 : (n + 1) // 2] *= 2  # n // 2 of an even n has a cos alone
    if centre:
        power[..., 0] = 0
    return power.movedim(-1, dim)


def fourier_coefficients_2d(values: Real[Tensor, "a b *rest"]) -> Float[Tensor, "component_a component_b *rest"]:
    """How much of each product of waves is in values over pairs: coefficients along the first axis, then the second.

    For a table over operand pairs, or one with neurons or logits as its further axes.
    """
    _need_pairs(values)
    return fourier_coefficients(fourier_coefficients(values, 0), 1)


def power_2d(values: Real[Tensor, "a b *rest"], centre: bool = True) -> Float[Tensor, "frequency_a frequency_b *rest"]:
    """How much of the squares of values over pairs is of each pair of frequencies; further axes stay.

    Entry (k, l) is the power in the products of a wave of frequency k in a with one of frequency l in b; the sum is
    that of the squares. With `centre` the mean over pairs is taken off and entry (0, 0) is 0.
    """
    _need_pairs(values)
    if centre:
        values = real_values(values)
        values = values - values.mean((0, 1), keepdim=True)
    power = fourier_coefficients_2d(values).square()
    for dim in (0, 1):
        power = _of_frequencies(power, dim)
    if centre:
        power[0, 0] = 0
    return power


def explained_by(
    power: Real[Tensor, "*batch frequency"],
    frequencies: Sequence[int],
    total: float | Real[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch"]:
    """The share of the power that these frequencies have, of all but the constant, or of `total` where it is given.

    A frequency counts once. NaN where there is no power to share: the dead, of a norm below 1e-8.
    """
    power = real_values(power)
    chosen = need_frequencies(frequencies)
    n = power.shape[-1]
    if chosen and not 1 <= chosen[0] <= chosen[-1] < n:
        raise BadInput(
            f"Frequencies here are 1 to {n - 1} (0 is the constant and explains nothing), not {tuple(frequencies)}."
        )
    return power[..., chosen].sum(-1) / _total(power, total)


def key_frequencies(
    power: Real[Tensor, "frequency"], share: float = 0.02, total: float | None = None
) -> tuple[int, ...]:
    """The frequencies that have more than `share` of the power, of all but the constant, or of `total`; in order.

    None of what is dead, of a norm below 1e-8; NaN and infinity are refused.
    """
    if power.ndim != 1:
        raise BadInput(f"Key frequencies are those of one spectrum; this is of shape {tuple(power.shape)}.")
    if not 0 <= share < 1:
        raise BadInput(f"share is from 0 to below 1, not {share}.")
    power = real_values(power)
    if bad := int((~power.isfinite()).sum()):
        raise BadInput(f"{bad} of {len(power)} powers are NaN or infinity: there are no key frequencies.")
    if total is not None and not math.isfinite(total):
        raise BadInput(f"A total of {total} has no shares.")
    above = (power / _total(power, total) > share).tolist()
    return tuple(k for k, is_key in enumerate(above) if is_key and k)


def gini(values: Real[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """How unevenly an amount is shared out along `dim`: 0 where all have the same, 1 - 1 / n where one has everything.

    The mean difference between two of the n, over twice their mean, for amounts that are never negative (powers,
    norms). NaN where there is nothing to share.
    """
    n = _length(values, dim)
    given = real_values(values).movedim(dim, -1)
    if bool((given < 0).any()):
        raise BadInput(f"The Gini coefficient is of amounts that are not negative; {int((given < 0).sum())} here are.")
    ranks = torch.arange(1 - n, n, 2, dtype=given.dtype, device=given.device)
    total = given.sum(-1)
    return (given.sort(-1).values * ranks).sum(-1) / (n * total.masked_fill(total == 0, torch.nan))


def _need_pairs(values: Tensor) -> None:
    if values.ndim < 2:
        raise BadInput(f"A spectrum over pairs needs two axes, (a, b, ...); this is of shape {tuple(values.shape)}.")


def _of_frequencies(power: Tensor, dim: int) -> Tensor:
    """Powers of components added up to those of frequencies, along one axis."""
    n = power.shape[dim]
    power = power.movedim(dim, 0)
    found = torch.cat([power[:1], power[1::2]])
    found[1 : (n + 1) // 2] += power[2::2]
    return found.movedim(0, dim)


def _total(power: Tensor, total: float | Tensor | None) -> Tensor:
    whole = power[..., 1:].sum(-1) if total is None else torch.as_tensor(total, dtype=power.dtype, device=power.device)
    return whole.masked_fill(whole < DEAD**2, torch.nan)


def _length(values: Tensor, dim: int) -> int:
    if not -values.ndim <= dim < values.ndim:
        raise BadInput(f"There is no axis {dim} in values of shape {tuple(values.shape)}.")
    if not values.shape[dim]:
        raise BadInput(f"There are no values along axis {dim} of shape {tuple(values.shape)}.")
    return values.shape[dim]
