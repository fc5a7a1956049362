"""The models of this study: the committed ones and their histories, fresh ones, and one whose attention is shuffled."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

import workbench
from case_studies.graph_search.problems import WORDS
from case_studies.graph_search.train import SETTINGS, initial_model
from workbench.models.small import SmallTransformer, word_tokenizer

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)
"""Of the balanced setting; the others have one."""


def committed(setting: str, seed: int) -> workbench.LensModel:
    """The trained model of a setting and seed that comes with the study."""
    return workbench.load(FOLDER / "checkpoints" / f"{setting}-{seed}")


def untrained(setting: str, seed: int) -> workbench.LensModel:
    """A model as it is before training."""
    return adapted(initial_model(replace(SETTINGS[setting], seed=seed)).eval(), f"{setting}, untrained, seed {seed}")


def adapted(module: SmallTransformer, name: str) -> workbench.LensModel:
    """A module in memory as a `LensModel`."""
    return workbench.adapt(module, word_tokenizer(WORDS), name=name)


@contextmanager
def shuffled(model: workbench.LensModel, *, seed: int = 0) -> Iterator[None]:
    """While this lasts, each query of each layer looks at other keys: its weights are dealt out anew, always alike."""

    def dealing(number: int) -> Callable[[Tensor], Tensor]:
        def deal(pattern: Tensor) -> Tensor:
            size = pattern.shape[-1]
            draws = torch.Generator().manual_seed(seed * 1000 + number)
            keys = torch.rand(size, size, generator=draws).argsort(-1).to(pattern.device)  # (query, key)
            return pattern.gather(-1, keys.expand_as(pattern))

        return deal

    sites = model.attention_sites(None, "pattern")
    with workbench.editing(model, {site: dealing(number) for number, site in enumerate(sites)}):
        yield


def history() -> pd.DataFrame:
    """What was measured while the committed models were trained: a row for each setting, seed and step."""
    return pd.DataFrame(json.loads((FOLDER / "training.json").read_text()))


def write_history(rows: Iterable[dict]) -> Path:
    """Write what `history` reads, four digits of each number."""
    lines = [json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}) for row in rows]
    path = FOLDER / "training.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return path
