"""How numbers are embedded decides who learns to add: waves in the embeddings, filters in the answers.

Zhou et al. (2024), "Pre-trained Large Language Models Use Fourier Features to Compute Addition" (arXiv 2406.03445):
GPT-2-XL adds numbers of one token with waves; without low frequencies its answers are off by tens, without high ones by
less than six; a GPT-2 trained from scratch adds half of the sums, and all of them with pretrained number embeddings.
The rescue is done here in miniature, on embeddings made of the waves found in large models; and a small pretrained
model, which splits numbers into digits, is asked what can still be asked of it.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

import workbench
from case_studies.addition_pretrained import real, rescue, rescue_pictures
from case_studies.addition_pretrained.train import ARMS, TrainConfig, train
from workbench import studies, training

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""
BySeed = dict[str, dict[int, float]]

FOLDER = studies.study("addition_pretrained").folder
FILTERED = ("waves", "scratch")
PRETRAINED = ("sums.", "first_digits.", "digits.", "letters.", "days.", "months.", "words.", "filtered.")
"""Beginnings of the quantities that the pretrained model is asked for."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 of every arm again
    long: bool = False  # train three seeds of every arm; all 55 sums of digits and more draws for the pretrained model
    model: str = "smollm2-135m"
    seeds: tuple[int, ...] = (0, 1, 2)  # of the committed weights
    draws: int = 3  # random bands and subspaces that filters are held against
    sums: int = 24  # of digits, that the filtered pretrained model is asked
    first_digits: int = 40  # sums of two digits
    orders: int = 200  # random orders of values, for the null of a spectrum
    seed: int = 0


def run(config: Config) -> studies.Findings:
    """Accuracies, filters and spectra of the models in miniature, then those of the pretrained model."""
    numbers, tables, figures = miniature(config)
    skipped: dict[str, str] = {}
    try:
        for more in pretrained(config):
            numbers, tables = numbers | more[0], tables | more[1]
    except workbench.Unavailable as error:
        skipped = dict.fromkeys(PRETRAINED, str(error))
    history = retrained(config) if config.train else pd.read_json(FOLDER / "training.json")
    if config.train:
        numbers |= retrained_numbers(history)
    figures = {"Who learns to add": rescue_pictures.learning_figure(history), **figures}
    if not skipped:
        spectra = tables["Spectra of a pretrained model"]
        figures |= {"Waves in a pretrained embedding": rescue_pictures.spectrum_figure(spectra)}
    return studies.Findings(numbers=numbers, tables=tables, figures=figures, skipped=skipped)


# ---- in miniature ----------------------------------------------------------------------------------------------------


def miniature(config: Config) -> tuple[dict[str, Any], dict[str, Table], dict[str, Any]]:
    """Accuracy of every committed model; filters of those given waves and from scratch; power of their embeddings."""
    learned, filters, first = [], [], None
    for arm in ARMS:
        for seed in config.seeds:
            model, settings = rescue.model_of(arm, seed), TrainConfig(arm=arm, seed=seed)
            slow = rescue.embedding_power(model, settings)[: max(rescue.LOW) + 1].sum().item()
            learned.append({"arm": arm, "seed": seed, **rescue.answers(model, settings), "slow power": slow})
            if arm in FILTERED:
                found = rescue.filtered(model, settings, config.draws)
                filters.append(found.to_frame().assign(arm=arm, seed=seed))
                first = found if arm == "waves" and seed == config.seeds[0] else first
    for seed in config.seeds:
        settings = TrainConfig(arm="waves", seed=seed)
        learned.append({"arm": "untrained", "seed": seed, **rescue.answers(rescue.untrained("waves", seed), settings)})
    tables = {"Learned": pd.DataFrame(learned), "Filters": pd.concat(filters, ignore_index=True)}
    errors = rescue.error_table(first)
    figures = {
        "What filters do": rescue_pictures.filter_figure(tables["Filters"]),
        "How far off": rescue_pictures.error_figure(errors),
    }
    return miniature_numbers(tables), tables | {"Errors, seed 0": errors}, figures


def miniature_numbers(tables: dict[str, Table]) -> BySeed:
    """Each quantity with its value for each seed, from what `miniature` measured."""
    numbers: BySeed = {}
    for row in tables["Learned"].to_dict("records"):
        for name in ("test", "below 6", "slow power"):
            quantity = f"{row['arm']}.{name}".replace(" ", "_")
            numbers.setdefault(quantity, {})[row["seed"]] = row[name]
    for (arm, seed), rows in tables["Filters"].groupby(["arm", "seed"]):
        for name, value in rescue.filter_numbers(rows).items():
            numbers.setdefault(f"{arm}.{name}", {})[seed] = value
    return numbers


# ---- the pretrained model --------------------------------------------------------------------------------------------


def pretrained(config: Config):
    """Yield numbers and tables: what the model adds, its spectra, its filters."""
    model = workbench.load(config.model)
    yield real.adding(model, config.first_digits, config.seed), {}
    yield {f"{name}.successor": real.successors(model, name) for name in real.CYCLIC}, {}
    spectra = real.spectra(model, config.orders)
    yield spectrum_numbers(spectra), {"Spectra of a pretrained model": spectra}
    sums = (
        real.filtered(model, 55, 3, config.seed) if config.long else real.filtered(model, config.sums, 1, config.seed)
    )
    yield real.filter_numbers(sums), {"Sums of digits": sums}


def spectrum_numbers(spectra: Table) -> dict[str, float]:
    """By how much the strongest frequency is above what random orders reach, and at what share of places it is."""
    names, numbers = {"embed": "embedding", "resid_post": "layers"}, {}
    for row in spectra.to_dict("records"):
        quantity = f"{row['variable']}.{names[row['part']]}" + ".detrended" * row["detrended"]
        numbers[f"{quantity}.above_chance"] = row["share"] - row["null"]
        numbers[f"{quantity}.places"] = row["above the null"] / row["places"]
    return numbers


# ---- training again --------------------------------------------------------------------------------------------------


def retrained(config: Config) -> Table:
    """Train every arm again, and give what was measured on the way: one row for each arm, seed and step."""
    rows, work = [], studies.work_folder("addition_pretrained")
    for arm in ARMS:
        for seed in config.seeds if config.long else config.seeds[:1]:
            done = train(TrainConfig(arm=arm, seed=seed), work / rescue.folder_name(arm, seed))
            rows += [{"arm": arm, "seed": seed, **row} for row in done.history]
    training.forget(work)  # all is done: the next time starts from scratch
    return pd.DataFrame(rows)


def retrained_numbers(history: Table) -> BySeed:
    """Held-out accuracy after the last step of each training."""
    last = history[history["step"] == history["step"].max()]
    return {
        f"retrained.{str(arm).replace(' ', '_')}.test": dict(zip(rows["seed"], rows["test"], strict=True))
        for arm, rows in last.groupby("arm")
    }
