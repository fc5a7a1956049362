"""A pretrained model that splits numbers into digits: what it adds, which values lie on waves, what filters do."""

import random
from typing import Any

import pandas as pd
import torch

import workbench

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""

TEMPLATES = {
    "digits": "The number {} is",
    "letters": "The letter {} is",
    "days": "The day after {} is",
    "months": "The month after {} is",
}
"""What is ordered, and the words it stands among."""
CYCLIC = ("days", "months")
LOW, HIGH = (1, 2), (3, 4, 5)
"""Of the five frequencies over ten digits: periods 10 and 5; 3.3, 2.5 and 2."""


def spectra(model: workbench.LensModel, draws: int) -> Table:
    """The strongest frequency of each variable, in the token embedding and where a layer is furthest above chance."""
    frames = []
    for variable, template in TEMPLATES.items():
        found = workbench.fourier_spectrum(
            model, variable, template=template, parts=("embed", "resid_post"), draws=draws
        )
        frames.append(found.strongest_frame().assign(variable=variable))
    return pd.concat(frames, ignore_index=True)


@torch.no_grad()
def successors(model: workbench.LensModel, variable: str) -> float:
    """Share of values after which the next one is first among the values."""
    over = workbench.variable(variable, model)
    ids, right = over.tokens(), 0
    for place, text in enumerate(over.texts):
        logits = model.logits(model.encode(TEMPLATES[variable].format(text)))[0, -1]
        right += int(logits[ids].argmax()) == (place + 1) % len(over)
    return right / len(over)


@torch.no_grad()
def first_digits(model: workbench.LensModel, prompts: int, seed: int) -> float:
    """Share of sums of two numbers of two digits whose first digit is first among the digits; two sums are shown."""
    draw, ids = random.Random(seed), workbench.variable("digits", model).tokens()

    def operands() -> tuple[int, int]:
        while True:
            a, b = draw.randint(10, 89), draw.randint(10, 89)
            if a + b < 100:
                return a, b

    right = 0
    for _ in range(prompts):
        shown = "".join(f"{a} + {b} = {a + b}\n" for a, b in (operands(), operands()))
        a, b = operands()
        logits = model.logits(model.encode(f"{shown}{a} + {b} = "))[0, -1]
        right += int(logits[ids].argmax()) == (a + b) // 10
    return right / prompts


def filtered(model: workbench.LensModel, examples: int, draws: int, seed: int) -> Table:
    """Sums of digits without the low and without the high frequencies over the digits, beside random filters."""
    found = workbench.fourier_filter(
        model, "digits", "addition", cut=max(LOW), examples=examples, draws=draws, seed=seed, anyway=True
    )
    return found.to_frame()


def filter_numbers(frame: Table) -> dict[str, float]:
    """Accuracy without a filter, and how much more a band takes away than random filters of its rank do."""
    parts = {"attn_out": "attention", "mlp_out": "mlp", "both": "both"}
    numbers = {"sums.accuracy": frame.loc[frame["filter"] == "none", "accuracy"].iloc[0]}
    for (part, band), rows in frame[frame["filter"] != "none"].groupby(["part", "band"]):
        name = f"real.{parts[str(part)]}.{str(band).partition(' ')[0]}"
        accuracy = rows.loc[rows["filter"] == "filter", "accuracy"].iloc[0]
        random_ones = rows.loc[rows["filter"] != "filter", "accuracy"]
        numbers[f"{name}.accuracy"] = accuracy
        numbers[f"{name}.below_random"] = random_ones.mean() - accuracy
    return numbers
