"""Whether states along a text are smooth or jump from token to token: frequencies along the axis of tokens.

Tokens are no circle and have no period of their own: this is about smoothness, not about counting.
"""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.spectra import DEAD, explained_by, power_spectrum


def relative_log_amplitude(states: Real[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch frequency"]:
    """How much weaker each frequency along the tokens is than the constant: ln of amplitude over that of frequency 0.

    Amplitudes are norms over d_model of the plain transform, so that a single spike has 0 everywhere and what is smooth
    falls steeply. NaN at frequencies of which there is nothing, and everywhere where there is no constant.
    Reference: Park & Kim (2022), "How Do Vision Transformers Work?"; Yun et al. (2023), "SPANet".
    """
    if states.ndim < 2:
        raise BadInput(
            f"States along tokens have the axes (*, pos, d_model); these are of shape {tuple(states.shape)}."
        )
    n = states.shape[-2]
    power = power_spectrum(states, dim=-2, centre=False).sum(-1)
    power[..., 1 : (n + 1) // 2] /= 2  # of one of the two halves of the circle
    power = power.masked_fill(power < DEAD**2, torch.nan)
    return (power / power[..., :1]).log() / 2


def frequency_ratio(power: Real[Tensor, "*batch frequency"], cut: int | None = None) -> Float[Tensor, "*batch"]:
    """The share of the power that lies at frequencies of `cut` and above, of all but the constant; from 0 to 1.

    Without a `cut`, above half of the highest frequency: about .5 for noise. NaN where there is no power.
    """
    n = power.shape[-1]
    first = (n - 1) // 2 + 1 if cut is None else cut
    if n < 2 or not 1 <= first <= n:
        raise BadInput(f"A cut lies between 1 and the number of frequencies, {n}, not at {first}.")
    return explained_by(power, range(first, n))
