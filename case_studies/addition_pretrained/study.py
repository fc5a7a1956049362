"""How numbers are embedded decides who learns to add: waves in the embeddings, filters in the answers.

Zhou et al. (2024), "Pre-trained Large Language Models Use Fourier Features to Compute Addition" (arXiv 2406.03445):
GPT-2-XL adds numbers of one token with waves; without low frequencies its answers are off by tens, without high ones by
less than six; a GPT-2 trained from scratch adds half of the sums, and all of them with pretrained number embeddings.
The rescue is done here in miniature, on embeddings made of the waves found in large models; and a small pretrained
model, which splits numbers into digits, is asked what can still be asked of it.
"""

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

import workbench
from case_studies.addition_pretrained import real, rescue
from case_studies.addition_pretrained.rescue_pictures import filter_figure, learning_figure
from case_studies.addition_pretrained.train import ARMS, TrainConfig, train
from workbench import studies

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""

FOLDER = studies.study("addition_pretrained").folder


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 of every arm again
    long: bool = False  # train three seeds of every arm; more prompts and draws
    model: str = "smollm2-135m"
    seeds: tuple[int, ...] = (0, 1, 2)  # of the committed weights
    draws: int = 3  # random bands and subspaces that filters are held against
    prompts: int = 24  # of the pretrained model
    real_draws: int = 1
    orders: int = 200  # random orders of values, for the null of a spectrum
    seed: int = 0


def run(config: Config) -> studies.Findings:
    """Accuracies, filters and spectra of the models in miniature, then those of the pretrained model."""
    learned, filters, powers = miniature(config)
    model = workbench.load(config.model)
    more = 3 if config.long else 1
    spectra = real.spectra(model, config.orders)
    sums = real.filtered(model, config.prompts * more, config.real_draws * more, config.seed)
    numbers = {
        **learned_numbers(learned),
        **per_seed(filters, rescue.filter_numbers),
        **power_numbers(powers),
        **real.filter_numbers(sums),
        "first_digits.accuracy": real.first_digits(model, config.prompts * more, config.seed),
        **{f"{name}.successor": real.successors(model, name) for name in real.CYCLIC},
        **spectrum_numbers(spectra),
    }
    history = retrained(config) if config.train else pd.read_json(FOLDER / "training.json")
    if config.train:
        numbers |= retrained_numbers(history)
    return studies.Findings(
        numbers=numbers,
        tables={
            "Learned": learned,
            "Filters": filters,
            "Spectra of a pretrained model": spectra,
            "Sums of digits": sums,
        },
        figures={"Who learns to add": learning_figure(history), "What filters do": filter_figure(filters)},
    )


def miniature(config: Config) -> tuple[Table, Table, Table]:
    """Accuracy of every committed model; filters of those given waves; power of the embeddings of both kinds."""
    learned, filters, powers = [], [], []
    for arm in ARMS:
        for seed in config.seeds:
            if not rescue.there(arm, seed):
                continue
            model, trained = rescue.model_of(arm, seed), TrainConfig(arm=arm, seed=seed)
            learned.append({"arm": arm, "seed": seed, **rescue.accuracies(model, trained)})
            if arm == "waves":
                filters.append(rescue.filtered(model, trained, config.draws).assign(seed=seed))
            if arm in ("scratch", "waves"):
                power = rescue.embedding_power(model, trained)
                powers.append({"arm": arm, "seed": seed, "slow": power[: max(rescue.LOW) + 1].sum().item()})
    return pd.DataFrame(learned), pd.concat(filters, ignore_index=True), pd.DataFrame(powers)


def learned_numbers(learned: Table) -> dict[str, dict[int, float]]:
    """Held-out accuracy of each arm, by seed."""
    return {
        f"{str(arm).replace(' ', '_')}.test": dict(zip(rows["seed"], rows["test"], strict=True))
        for arm, rows in learned.groupby("arm")
    }


def per_seed(frame: Table, measure) -> dict[str, dict[int, float]]:
    """What `measure` gives for the rows of each seed."""
    numbers: dict[str, dict[int, float]] = {}
    for seed, rows in frame.groupby("seed"):
        for name, value in measure(rows).items():
            numbers.setdefault(name, {})[int(str(seed))] = value
    return numbers


def power_numbers(powers: Table) -> dict[str, dict[int, float]]:
    """Share of the variance of the number embeddings at periods of 20 numbers and more."""
    return {
        f"{arm}.slow_power": dict(zip(rows["seed"], rows["slow"], strict=True)) for arm, rows in powers.groupby("arm")
    }


def spectrum_numbers(spectra: Table) -> dict[str, float]:
    """By how much the strongest frequency of a variable is above what random orders reach, in shares of the power."""
    names = {"embed": "embedding", "resid_post": "layers"}
    return {
        f"{row['variable']}.{names[row['part']]}.above_chance": row["share"] - row["null"]
        for row in spectra.to_dict("records")
    }


def retrained(config: Config) -> Table:
    """Train every arm again, and give what was measured on the way: one row for each arm, seed and step."""
    rows = []
    for arm in ARMS:
        for seed in config.seeds if config.long else config.seeds[:1]:
            folder = studies.work_folder("addition_pretrained") / rescue.folder_name(arm, seed)
            done = train(TrainConfig(arm=arm, seed=seed), folder)
            rows += [{"arm": arm, "seed": seed, **row} for row in done.history]
    return pd.DataFrame(rows)


def retrained_numbers(history: Table) -> dict[str, dict[int, float]]:
    """Held-out accuracy after the last step of each training."""
    last = history[history["step"] == history["step"].max()]
    return {
        f"retrained.{str(arm).replace(' ', '_')}.test": dict(zip(rows["seed"], rows["test"], strict=True))
        for arm, rows in last.groupby("arm")
    }


def write_history(history: Table) -> None:
    """Keep what was measured in training for the fast form's figure."""
    rows = [
        {**row, "test": round(row["test"], 4), "train": round(row["train"], 4)} for row in history.to_dict("records")
    ]
    (FOLDER / "training.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")
