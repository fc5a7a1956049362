"""Whether the ten digits lie on circles: spectra along them, and answers from a few frequencies of the logits."""

from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

import workbench
from case_studies.multiplication.problems import FIRST, Order, Problems, tokens
from workbench import functional

LOW, HIGH = (1, 2), (3, 4)
"""Cycles over the ten digits; two waves each, so that both pairs have a rank of 4."""


def spectrum_table(model: workbench.LensModel, *, seed: int = 0) -> pd.DataFrame:
    """Share of each frequency along the digits 0 to 9 in what they are read by (embed) and answered with (unembed).

    `null` is what the largest share exceeds once in twenty times when the digits stand in random order. `roundness` is
    that of the two strongest frequencies, NaN for the others.
    """
    found = workbench.fourier_spectrum(model, "digits", parts=("embed", "unembed"), kept=2, seed=seed)
    rows = []
    for place, name in enumerate(found.places):
        round_ones = dict(zip(found.strongest[place].tolist(), found.roundness[place].tolist(), strict=True))
        for frequency, share in enumerate(found.shares[place].tolist()[1:], 1):
            row = {"place": name, "frequency": frequency, "share": share, "null": found.null[place].item()}
            rows.append(row | {"roundness": round_ones.get(frequency, float("nan"))})
    return pd.DataFrame(rows)


@torch.no_grad()
def digit_logits(model: workbench.LensModel, problems: Problems, order: Order) -> Float[Tensor, "problem place digit"]:
    """The logits of the ten digits at each place of the answer, highest place first, in double precision."""
    logits = model.module(tokens(problems, problems.answers(), order)[:, :-1]).logits[:, FIRST:, :10].double()
    return logits.flip(1) if order == "reversed" else logits


def frequency_numbers(
    model: workbench.LensModel, problems: Problems, order: Order, *, draws: int = 20, seed: int = 0
) -> dict[str, float]:
    """Share of right digits when the logits keep only some frequencies, or a random subspace of the same rank.

    What is kept runs along the digits; their mean changes no answer. `random` is the mean over the draws, `luckiest`
    the best of them.
    """
    basis = functional.fourier_basis(10, dtype=torch.float64)
    logits, answers = digit_logits(model, problems, order), problems.answers()
    coefficients = logits @ basis.matrix[1:].T  # the constant is left out

    def right(kept: Float[Tensor, "problem place component"]) -> float:
        return ((kept @ basis.matrix[1:]).argmax(-1) == answers).double().mean().item()

    found = {"all": right(coefficients)}
    for name, frequencies in (("low", LOW), ("high", HIGH)):
        inside = torch.isin(basis.frequencies[1:], torch.tensor(frequencies))
        found[name] = right(coefficients * inside)
    generator = torch.Generator().manual_seed(seed)
    random = [
        right(functional.random_subspace(2 * len(LOW), 9, generator, dtype=torch.float64).kept(coefficients))
        for _ in range(draws)
    ]
    found |= {"random": sum(random) / draws, "luckiest": max(random), "low_over_luckiest": found["low"] - max(random)}
    return {f"kept.{name}": value for name, value in found.items()}


def neighbours(
    predicted: Int[Tensor, "problem place"], answers: Int[Tensor, "problem place"], wrong: Bool[Tensor, "problem place"]
) -> float:
    """Share of wrong digits that are one off, with 9 beside 0; NaN where none is wrong. Chance is 2 in 9."""
    off = (predicted - answers)[wrong] % 10
    return torch.isin(off, torch.tensor([1, 9])).double().mean().item()


def spectrum_numbers(table: pd.DataFrame) -> dict[str, float]:
    """By how much the strongest frequency exceeds chance, what the lowest two hold, and how round they are."""
    found: dict[str, float] = {}
    groups: Any = table.groupby("place")
    for place, rows in groups:
        low = rows[rows["frequency"].isin(LOW)]
        found |= {
            f"{place}.over_null": float(rows["share"].max() - rows["null"].iloc[0]),
            f"{place}.low": float(low["share"].sum()),
            f"{place}.roundness": float(rows["roundness"].min()),
        }
    return found
