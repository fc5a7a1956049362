"""What number embeddings decide: who learns to add, and which waves its answers are made of."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import workbench
from case_studies.addition_pretrained.train import TrainConfig, initial_model, pairs, tokenizer
from workbench import functional

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""

CHECKPOINTS = Path(__file__).with_name("checkpoints")
LOW, HIGH = (1, 2, 5), (10, 20, 40, 50)
"""Frequencies over the numbers 0 ... 99 of the waves that embeddings are given: periods 100, 50, 20; 10, 5, 2.5, 2."""
BANDS = {"low waves": LOW, "high waves": HIGH}
PROMPTS = 400
NEAR = 6


def model_of(arm: str, seed: int) -> workbench.LensModel:
    """A trained model of the study."""
    return workbench.load(CHECKPOINTS / folder_name(arm, seed))


def untrained(arm: str, seed: int) -> workbench.LensModel:
    """The same before its first step."""
    config = TrainConfig(arm=arm, seed=seed)
    return workbench.adapt(initial_model(config).eval(), tokenizer(config), name=f"{arm}, untrained, seed {seed}")


def folder_name(arm: str, seed: int) -> str:
    """Where its weights are."""
    return f"{arm.replace(' ', '-')}-{seed}"


@torch.no_grad()
def answers(model: workbench.LensModel, config: TrainConfig) -> dict[str, float]:
    """Share of sums that are first among the numbers, on pairs trained on and on pairs held out.

    And what share of the wrong ones held out is less than 6 off; NaN where none is wrong.
    """
    ids, sums, trained, held_out = pairs(config)
    off = (model.logits(model.encode(ids))[:, -1, : config.numbers].argmax(-1) - sums).abs()
    wrong = off[held_out][off[held_out] > 0]
    return {
        "train": (off[trained] == 0).double().mean().item(),
        "test": (off[held_out] == 0).double().mean().item(),
        "below 6": (wrong < NEAR).double().mean().item(),
    }


def filtered(model: workbench.LensModel, config: TrainConfig, draws: int) -> Any:
    """Answers on held-out pairs without the low or the high waves in what attention and MLP write."""
    ids, sums, _trained, held_out = pairs(config)
    some = held_out[:PROMPTS]
    return workbench.filtered_answers(
        model, ids[some], sums[some], ids=torch.arange(config.numbers), bands=BANDS, draws=draws, batch_size=PROMPTS
    )


def error_table(found: Any) -> Table:
    """How often each error comes when the MLP is filtered: one row for each band and size of error."""
    place, rows = found.parts.index("mlp_out"), []
    for condition, (band, kind) in enumerate(zip(found.bands, found.filters, strict=True)):
        if kind == "filter":
            off = found.predicted[place, condition] - found.right
            sizes, counts = off[off != 0].unique(return_counts=True)
            rows += [
                {"band": f"without {band}", "error": size, "answers": count}
                for size, count in zip(sizes.tolist(), counts.tolist(), strict=True)
            ]
    return pd.DataFrame(rows, columns=["band", "error", "answers"])


def embedding_power(model: workbench.LensModel, config: TrainConfig) -> Tensor:
    """(frequency) share of the variance of the number embeddings at each frequency over the numbers."""
    table = model.module.get_parameter("embed.weight")[: config.numbers].detach()
    power = functional.power_spectrum(table, dim=0).sum(-1)
    return power / power.sum()


def filter_numbers(frame: Table) -> dict[str, float]:
    """What the filters did, by part and band, and the most that any random filter of equal rank did."""
    parts = {"attn_out": "attention", "mlp_out": "mlp", "both": "both"}
    numbers: dict[str, float] = {}
    for row in frame[frame["filter"] == "filter"].to_dict("records"):
        name = f"{parts[row['part']]}.{row['band'].partition(' ')[0]}"
        numbers[f"{name}.accuracy"] = row["accuracy"]
        numbers[f"{name}.multiples_of_10"] = row["multiples_of_10"]
        numbers[f"{name}.below_6"] = row["near"]
    random = frame[frame["filter"].isin(["random band", "random subspace"])]
    numbers["random_filters.lowest"] = random["accuracy"].min()
    return numbers
