"""The models of this study: the committed ones and their histories, and fresh ones."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

import workbench
from case_studies.extreme_tokens.chain import WORDS
from case_studies.extreme_tokens.train import SETTINGS, initial_model
from workbench.models.small import SmallTransformer, word_tokenizer

FOLDER = Path(__file__).parent
COMMITTED = {
    "adam": (0, 1, 2),
    "relu": (0,),
    "sgd": (0,),
    "ruleless": (0,),
    "small_tables": (0,),
    "deep": (0,),
    "deep_relu": (0,),
    "deep_sgd": (0,),
}
"""The settings with the seeds whose models come with the study; `adam`, 0 and `deep`, 0 have checkpoints."""


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
    return pd.DataFrame(json.loads((FOLDER / "training.json").read_text()))


def write_history(rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write what `history` reads, four decimals of each number."""
    lines = [json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}) for row in rows]
    path = FOLDER / "training.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return path
