"""A pretrained model that splits numbers into digits: what it adds, which values lie on waves, what filters do."""

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import workbench

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""
Operands = tuple[int, int]

WORDS = "table,river,music,stone,window,doctor,bread,forest,engine,paper"
TEMPLATES = {
    "digits": "The number {} is",
    "letters": "The letter {} is",
    "days": "The day after {} is",
    "months": "The month after {} is",
    WORDS: "The word {} is",
}
"""What is ordered, and the words it stands among; the last have no order."""
CYCLIC = ("days", "months")
LOW, HIGH = (1, 2), (3, 4)
"""Frequencies over the ten digits, of equal rank: periods 10 and 5; 3.3 and 2.5."""
BANDS = tuple(combinations(range(1, 5), 2))
"""Every two of the four frequencies that have a cos and a sin."""


# ---- spectra ---------------------------------------------------------------------------------------------------------


def spectra(model: workbench.LensModel, draws: int) -> Table:
    """The strongest frequency of each variable, in the token embedding and where a layer is furthest above chance.

    Beside it, the same with the straight line along the values taken off, which any smooth growth leaves.
    """
    frames = []
    for variable, template in TEMPLATES.items():
        for detrend in (False, True):
            found = workbench.fourier_spectrum(
                model, variable, template=template, parts=("embed", "resid_post"), detrend=detrend, draws=draws
            )
            name = "words" if variable == WORDS else variable
            frames.append(found.strongest_frame().assign(variable=name, detrended=detrend))
    return pd.concat(frames, ignore_index=True)


# ---- what it can do --------------------------------------------------------------------------------------------------


@torch.no_grad()
def successors(model: workbench.LensModel, variable: str) -> float:
    """Share of values after which the next one is first among the values."""
    over = workbench.variable(variable, model)
    ids, right = over.tokens(), 0
    for place, text in enumerate(over.texts):
        logits = model.logits(model.encode(TEMPLATES[variable].format(text)))[0, -1]
        right += int(logits[ids].argmax()) == (place + 1) % len(over)
    return right / len(over)


def sums_of_digits(prompts: int, seed: int) -> list[tuple[list[Operands], Operands]]:
    """A sum to show, with another answer, and one to ask: of all 55 whose answer is a digit, or of some of them."""
    draw = random.Random(seed)
    every = [(a, b) for a in range(10) for b in range(10 - a)]
    return [([draw.choice([s for s in every if sum(s) != sum(one)])], one) for one in draw.sample(every, prompts)]


def sums_of_two_digits(prompts: int, seed: int) -> list[tuple[list[Operands], Operands]]:
    """Two sums to show and one to ask, of numbers of two digits; so is the answer."""
    draw = random.Random(seed)
    every = [(a, b) for a in range(10, 90) for b in range(10, 100 - a)]
    return [(draw.choices(every, k=2), draw.choice(every)) for _ in range(prompts)]


def tokens_of(model: workbench.LensModel, asked: Sequence[tuple[list[Operands], Operands]]) -> Tensor:
    """(prompt, pos) ids of "3 + 4 = 7", a line for each sum that is shown, then the one asked for up to the space."""
    texts = ["".join(f"{a} + {b} = {a + b}\n" for a, b in shown) + f"{one[0]} + {one[1]} = " for shown, one in asked]
    return torch.cat([model.encode(text)["input_ids"] for text in texts])


@torch.no_grad()
def adding(model: workbench.LensModel, prompts: int, seed: int) -> dict[str, float]:
    """Share of sums of digits, and of first digits of sums of two, that are first among the digits.

    Beside each: what the commonest answer alone would get.
    """
    ids, numbers = workbench.variable("digits", model).tokens(), {}
    kinds = {
        "sums": (sums_of_digits(55, seed), 1),
        "first_digits": (sums_of_two_digits(prompts, seed), 10),
    }
    for name, (asked, unit) in kinds.items():
        right = torch.tensor([(a + b) // unit for _, (a, b) in asked])
        given = model.logits(model.encode(tokens_of(model, asked)))[:, -1, ids].argmax(-1)
        numbers[f"{name}.accuracy"] = (given == right).double().mean().item()
        numbers[f"{name}.commonest"] = right.bincount().max().item() / len(right)
    return numbers


# ---- filters ---------------------------------------------------------------------------------------------------------


def filtered(model: workbench.LensModel, prompts: int, draws: int, seed: int) -> Table:
    """Sums of digits without two frequencies over the digits: the low, the high and all other two in the MLPs.

    In attention the low and the high alone; both beside random subspaces of equal rank.
    """
    ids, asked = workbench.variable("digits", model).tokens(), sums_of_digits(prompts, seed)
    right = ids[torch.tensor([a + b for _, (a, b) in asked])]
    tokens = tokens_of(model, asked)

    def without(bands: Sequence[tuple[int, ...]], part: str, draws: int) -> Table:
        named = {" and ".join(map(str, band)): band for band in bands}
        return workbench.filtered_answers(
            model, tokens, right, ids=ids, bands=named, parts=(part,), draws=draws, seed=seed
        ).to_frame()

    others = [band for band in BANDS if band not in (LOW, HIGH)]
    frames = [without((LOW, HIGH), part, draws) for part in ("attn_out", "mlp_out")]
    more = without(others, "mlp_out", 0)
    found = pd.concat([*frames, more[more["filter"] == "filter"]], ignore_index=True)
    return found[found["filter"] != "random band"]  # those are among the others


def filter_numbers(frame: Table) -> dict[str, float]:
    """Accuracy without low and high waves, without other two (mean and least), and without random subspaces (least)."""
    names = {"1 and 2": "low", "3 and 4": "high"}
    numbers: dict[str, float] = {"filtered.none": frame.loc[frame["filter"] == "none", "accuracy"].iloc[0]}
    for row in frame[frame["filter"] == "filter"].to_dict("records"):
        if row["band"] in names:
            part = {"attn_out": "attention", "mlp_out": "mlp"}[row["part"]]
            numbers[f"filtered.{part}.{names[row['band']]}"] = row["accuracy"]
    mlp = frame[frame["part"] == "mlp_out"]
    others = mlp[(mlp["filter"] == "filter") & ~mlp["band"].isin(list(names))]["accuracy"]
    numbers["filtered.mlp.other_bands"] = others.mean()
    numbers["filtered.mlp.worst_other_band"] = others.min()
    numbers["filtered.mlp.low_below_worst_other"] = others.min() - numbers["filtered.mlp.low"]
    numbers["filtered.attention.high_fall"] = numbers["filtered.none"] - numbers["filtered.attention.high"]
    numbers["filtered.subspaces.lowest"] = frame[frame["filter"] == "random subspace"]["accuracy"].min()
    return numbers
