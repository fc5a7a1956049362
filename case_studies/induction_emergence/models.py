"""The models of this study: the committed ones with their checkpoints and histories, and fresh ones."""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd

import workbench
from case_studies.induction_emergence.data import WORDS
from case_studies.induction_emergence.train import SETTINGS, initial_model
from workbench.models.small import SmallTransformer, word_tokenizer

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)


def folder(setting: str, seed: int) -> Path:
    """Where a committed model is, its checkpoints inside."""
    return FOLDER / "checkpoints" / f"{setting}-{seed}"


@cache
def committed(setting: str, seed: int, step: int | None = None) -> workbench.LensModel:
    """A trained model that comes with the study, or as it was at a kept step of its training."""
    config = SETTINGS[setting]
    if step is None or step == config.steps:
        return workbench.load(folder(setting, seed), checkpoint=None)
    return workbench.load(folder(setting, seed), checkpoint=str(step))


def kept_steps(setting: str) -> tuple[int, ...]:
    """The steps of training whose weights are committed for a setting, the last among them."""
    config = SETTINGS[setting]
    return (*config.keep, config.steps)


def untrained(setting: str, seed: int) -> workbench.LensModel:
    """A model as it is before training."""
    return adapted(initial_model(replace(SETTINGS[setting], seed=seed)).eval(), f"{setting}, untrained, seed {seed}")


def adapted(module: SmallTransformer, name: str) -> workbench.LensModel:
    """A module in memory as a `LensModel`."""
    return workbench.adapt(module, word_tokenizer(WORDS), name=name)


def history() -> pd.DataFrame:
    """What was measured while the committed models were trained: a row for each setting, seed and step."""
    return pd.DataFrame(json.loads((FOLDER / "training.json").read_text()))


def write_history(rows: Iterable[dict]) -> Path:
    """Write what `history` reads, four digits of each number."""
    lines = [json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}) for row in rows]
    path = FOLDER / "training.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return path
