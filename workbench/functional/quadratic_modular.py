"""Weights written down, not trained, with which a two-layer network of squares adds modulo p.

Gromov (2023), Grokking Modular Arithmetic, arXiv 2301.02679; Doshi et al. (2024), To Grok or not to Grok, ICLR.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole


@dataclass(frozen=True, eq=False, kw_only=True)
class QuadraticWeights:
    """The network f(a, b) = out (left[:, a] + right[:, b])^2, squared number by number, without biases."""

    left: Float[Tensor, "neuron p"]
    """What the first operand gives to each neuron."""
    right: Float[Tensor, "neuron p"]
    out: Float[Tensor, "p neuron"]
    """What each neuron gives to each answer."""
    frequencies: Int[Tensor, "neuron"]
    """Whole cycles over the p values, 1 to p - 1. Frequency p - k is k turned the other way around."""


def quadratic_modular_weights(
    p: int,
    neurons: int,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> QuadraticWeights:
    """How one wave a neuron is enough to add modulo p: what a network that generalises looks like, exactly.

    Neuron k has one frequency s and two phases u, v, drawn evenly around the circle with `seed`:
    left[k, a] = A cos(w a + u), right[k, b] = A cos(w b + v), out[c, k] = A cos(w c + u + v), where w = 2 pi s / p and
    A = (2 / neurons)^(1/3). The frequencies 1 to p - 1 are dealt out in turn. The answer a + b (mod p) gets 1 in the
    mean over phases, each other one -1 / (p - 1), and the rest is noise that shrinks as 1 / sqrt(neurons). Drawn in
    float64, then rounded. The paper's printed exponent differs in sign; this is the amplitude that gives 1.
    """
    for name, number, least in (("p", p, 2), ("neurons", neurons, 1)):
        need_whole(name, number)
        if number < least:
            raise BadInput(f"{name} is {least} or more, not {number}.")
    generator = torch.Generator().manual_seed(seed)
    frequencies = torch.arange(neurons) % (p - 1) + 1
    first, second = 2 * math.pi * torch.rand(2, neurons, 1, generator=generator, dtype=torch.float64)
    turns = frequencies[:, None] * torch.arange(p) % p  # whole numbers, so that the angle stays exact for large p
    angle = turns.double() * (2 * math.pi / p)
    amplitude = (2 / neurons) ** (1 / 3)
    left, right, out = (amplitude * (angle + phase).cos() for phase in (first, second, first + second))
    return QuadraticWeights(
        left=left.to(device, dtype),
        right=right.to(device, dtype),
        out=out.T.contiguous().to(device, dtype),
        frequencies=frequencies.to(device),
    )
