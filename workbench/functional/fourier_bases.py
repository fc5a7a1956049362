"""Waves as orthonormal rows: any function of n ordered values is a sum of them, and lengths stay what they are.

Frequency k is a whole number of cycles over the n values, from 0 (the constant) to n // 2. Each frequency between has a
cos and a sin row; for even n the last, k = n / 2, has a cos alone: its sin is 0 at every value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole


@dataclass(frozen=True, eq=False, kw_only=True)
class FourierBasis:
    """Rows of waves over n values, with the frequency and the name of each."""

    matrix: Float[Tensor, "component n"]
    """One wave a row; `matrix @ values` has the coefficients of values (n, ...)."""
    frequencies: Int[Tensor, "component"]
    """Cycles of each row over the n values (n - 1 of them in the basis of Zhou et al.)."""
    names: tuple[str, ...]
    """"constant", "cos 1", "sin 1", ..."""

    @property
    def rank(self) -> int:
        """Rows that are independent of each other; below n, some functions are no sum of them."""
        return int(torch.linalg.matrix_rank(self.matrix.double()))

    @property
    def lengths(self) -> Float[Tensor, "component"]:
        """The norm of each row: 1 where they are orthonormal."""
        return self.matrix.norm(dim=-1)

    def rows(self, frequencies: Sequence[int]) -> Float[Tensor, "row n"]:
        """The waves of these frequencies alone, in the order of the basis."""
        known = set(self.frequencies.tolist())
        if missing := sorted(set(frequencies) - known):
            raise BadInput(f"There is no frequency {missing[0]} in this basis: it has 0 to {max(known)}.")
        return self.matrix[torch.isin(self.frequencies, self.frequencies.new_tensor(sorted(set(frequencies))))]


def component_frequencies(n: int) -> tuple[int, ...]:
    """The frequency of each component over n values, in order: 0, 1, 1, 2, 2, ..."""
    _need_values(n)
    return tuple((i + 1) // 2 for i in range(n))


def component_names(n: int) -> tuple[str, ...]:
    """The name of each component over n values, in order: "constant", "cos 1", "sin 1", "cos 2", ..."""
    kinds = ("sin", "cos")
    return tuple(f"{kinds[i % 2]} {k}" if k else "constant" for i, k in enumerate(component_frequencies(n)))


def fourier_basis(n: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> FourierBasis:
    """The waves over n values that are orthonormal: every function of the values is exactly one sum of them.

    Row 0 is 1 / sqrt(n); cos k and sin k are sqrt(2 / n) cos(2 pi k x / n) and sqrt(2 / n) sin(2 pi k x / n), for
    x = 0 ... n - 1; where n is even the last is (-1)^x / sqrt(n). n^2 numbers; the coefficients alone come cheaper from
    `fourier_coefficients`.
    """
    frequencies = torch.tensor(component_frequencies(n))
    turns = frequencies[:, None] * torch.arange(n) % n  # whole turns dropped while exact
    angles = turns.double() * (2 * math.pi / n)
    is_sin = (torch.arange(n) % 2 == 0) & (frequencies > 0)
    waves = angles.cos().where(~is_sin[:, None], angles.sin())
    alone = (frequencies == 0) | (2 * frequencies == n)
    scale = torch.full((n, 1), math.sqrt(2 / n), dtype=torch.float64).masked_fill(alone[:, None], math.sqrt(1 / n))
    return FourierBasis(
        matrix=(waves * scale).to(device=device, dtype=dtype),
        frequencies=frequencies.to(device=device),
        names=component_names(n),
    )


def addition_paper_basis(
    n: int = 521, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> FourierBasis:
    """The waves of Zhou et al. (2024) as printed, over the numbers 0 ... n - 1; not a basis, for comparison only.

    Row 0 is sqrt(1 / (n - 1)); rows 2k - 1 and 2k are sqrt(2 / (n - 1)) sin and cos of 2 pi k x / (n - 1). With n - 1
    in the place of n the first and the last number coincide in every row. At the paper's n = 521: rank 520, not 521;
    the sin of frequency 260 is 0 everywhere and its cos has the squared length 2 (2.004), others of the rows overlap by
    up to .0038. Use `fourier_basis(520)`, over 0 ... 519, where periods are the same and all is exact.
    Reference: "Pre-trained Large Language Models Use Fourier Features to Compute Addition".
    """
    need_whole("n", n)
    if n < 3 or n % 2 == 0:
        raise BadInput(f"The basis of Zhou et al. is over an odd number of numbers, three or more, not {n}.")
    frequencies = torch.tensor([(i + 1) // 2 for i in range(n)])
    angles = (frequencies[:, None] * torch.arange(n) % (n - 1)).double() * (2 * math.pi / (n - 1))
    is_sin = torch.arange(n) % 2 == 1
    waves = math.sqrt(2 / (n - 1)) * angles.sin().where(is_sin[:, None], angles.cos())
    waves[0] = math.sqrt(1 / (n - 1))
    names = tuple(f"{'sin' if i % 2 else 'cos'} {(i + 1) // 2}" if i else "constant" for i in range(n))
    return FourierBasis(
        matrix=waves.to(device=device, dtype=dtype), frequencies=frequencies.to(device=device), names=names
    )


def _need_values(n: int) -> None:
    need_whole("n", n)
    if n < 1:
        raise BadInput(f"A Fourier basis needs one value or more, not {n}.")
