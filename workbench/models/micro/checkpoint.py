"""Reading and writing attention-only models as one safetensors file that also holds their sizes and origin."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from workbench.errors import BadFile, BadWeights
from workbench.files import write_atomically
from workbench.models.micro.attention_only import AttentionOnly, AttentionOnlyConfig
from workbench.models.micro.characters import CharacterTokenizer

INDUCTION = Path(__file__).with_name("induction.safetensors")
FORMAT = "workbench attention-only 1"


def load_micro(path: str | Path | None = None) -> tuple[AttentionOnly, CharacterTokenizer]:
    """Give the induction model that comes with the workbench, and its tokenizer, ready to run.

    `path` names another file of the same form, for example a checkpoint of its training. Where the model comes from
    is in its `provenance`. Raises BadFile for a file that is damaged or is something else, BadWeights for NaN.
    """
    path = INDUCTION if path is None else Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a dict
        if header.get("format") != FORMAT:
            raise BadFile(f"{path} is no attention-only checkpoint: its header lacks format={FORMAT!r}.")
        config = AttentionOnlyConfig(**json.loads(header["config"]))
        provenance = json.loads(header["provenance"])
        model = AttentionOnly(config)
        model.load_state_dict(weights)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read as an attention-only checkpoint: {error}") from error
    wrong = [name for name, value in weights.items() if not value.isfinite().all()]
    if wrong:
        raise BadWeights(f"{path} holds NaN or infinity in {', '.join(wrong)}.")
    model.provenance = provenance
    return model.eval(), CharacterTokenizer(model_max_length=config.n_ctx)


def save_micro(model: AttentionOnly, path: str | Path, provenance: Mapping[str, Any]) -> Path:
    """Write a model in half precision (the numbers `load_micro` gives back are the rounded ones)."""
    path = Path(path)
    header = {
        "format": FORMAT,
        "config": json.dumps(asdict(model.config)),
        "provenance": json.dumps(dict(provenance), allow_nan=False),
    }
    weights = {name: value.detach().to(torch.float16).contiguous().cpu() for name, value in model.state_dict().items()}
    return write_atomically(path, save(weights, metadata=header))
