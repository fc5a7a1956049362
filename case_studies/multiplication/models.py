"""The models of this study: the committed ones and their histories, and fresh ones."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

import workbench
from case_studies.multiplication.problems import WORDS, Order
from case_studies.multiplication.train import SETTINGS, initial_model
from workbench import training
from workbench.models.small import SmallTransformer, word_tokenizer

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)
TRAINED = ("ordinary", "reversed", "deeper", "simple")
"""The settings with a model of each seed; `permuted` has one."""
STEPPED = ("ordinary", "reversed")
"""What digits read is looked into in these; those of seed 0 have checkpoints of their training."""


def order_of(setting: str) -> Order:
    """The order in which the models of a setting write."""
    return SETTINGS[setting].order


def committed(setting: str, seed: int, checkpoint: str | None = None) -> workbench.LensModel:
    """The trained model of a setting and seed that comes with the study, or one of its checkpoints."""
    folder = FOLDER / "checkpoints" / f"{setting}-{seed}"
    return workbench.load(folder, checkpoint=checkpoint) if checkpoint else workbench.load(folder)


def untrained(setting: str, seed: int) -> workbench.LensModel:
    """A model as it is before training."""
    return adapted(initial_model(replace(SETTINGS[setting], seed=seed)).eval(), f"{setting}, untrained, seed {seed}")


def adapted(module: SmallTransformer, name: str) -> workbench.LensModel:
    """A module in memory as a `LensModel`."""
    return workbench.adapt(module, word_tokenizer(WORDS), name=name)


def history() -> pd.DataFrame:
    """What was measured while the committed models were trained: a row for each setting, seed and step."""
    return pd.DataFrame(training.read_history(FOLDER / "training.json"))


def write_history(rows: Iterable[dict]) -> Path:
    """Write what `history` reads."""
    return training.write_history(rows, FOLDER / "training.json")
