"""The models of this study: the committed ones and their histories, and fresh ones."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from case_studies.in_context_regression.train import SETTINGS, initial_model, read

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)


def committed(setting: str, seed: int) -> Any:
    """The trained model of a setting and seed that comes with the study."""
    return read(SETTINGS[setting], FOLDER / "checkpoints" / f"{setting}-seed{seed}.safetensors")


def untrained(setting: str, seed: int) -> Any:
    """A model as it is before training."""
    return initial_model(replace(SETTINGS[setting], seed=seed)).eval()


def seeds_of(setting: str) -> tuple[int, ...]:
    """The seeds of which there are models."""
    return tuple(seed for seed in SEEDS if (FOLDER / "checkpoints" / f"{setting}-seed{seed}.safetensors").exists())


def history() -> pd.DataFrame:
    """What was measured while the committed models were trained: a row for each setting, seed and step."""
    return pd.DataFrame(json.loads((FOLDER / "training.json").read_text()))


def write_history(rows: Iterable[dict]) -> Path:
    """Write what `history` reads, four digits of each number."""
    lines = [json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}) for row in rows]
    path = FOLDER / "training.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return path
