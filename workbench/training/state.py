"""Where a training stands, as one safetensors file: weights, what the optimizer remembers, step and history."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from workbench.errors import BadFile, BadInput
from workbench.files import write_atomically

FILE = "training.safetensors"
_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(kw_only=True)
class Standing:
    """How many updates are behind us, and what was measured on the way."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def suspend(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, standing: Standing, settings: Mapping[str, Any]
) -> None:
    """Write everything the next run needs to go on as if nothing had happened."""
    tensors = {f"{_MODEL}{name}": value for name, value in module.state_dict().items()}
    for number, memory in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{number}.{name}": torch.as_tensor(value) for name, value in memory.items()}
    header = {
        "step": str(standing.step),
        "history": json.dumps(standing.history),
        "settings": json.dumps(dict(settings), sort_keys=True),
    }
    # Two names may share one tensor (tied weights), which the format does not take.
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_atomically(folder / FILE, save(whole, metadata=header))


def resume(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, settings: Mapping[str, Any]) -> Standing:
    """Put back what `suspend` wrote, or begin; raises `BadInput` where the folder holds another training."""
    path = folder / FILE
    if not path.exists():
        return Standing()
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        step, history = int(header["step"]), json.loads(header["history"])
        theirs = json.loads(header["settings"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BadFile(f"{path} is no training that can be gone on with ({error}). Remove it to begin again.") from error
    mine = json.loads(json.dumps(dict(settings)))
    if theirs != mine:
        odd = ", ".join(
            f"{name} {theirs.get(name)!r} instead of {mine.get(name)!r}"
            for name in sorted({*theirs, *mine})
            if theirs.get(name) != mine.get(name)
        )
        raise BadInput(f"{folder} holds a training with other settings: {odd}. Give another folder, or remove it.")
    try:
        module.load_state_dict(_under(_MODEL, tensors))
    except RuntimeError as error:
        raise BadInput(f"{folder} holds a training of another model. Give another folder, or remove it.") from error
    memories: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _under(_OPTIMIZER, tensors).items():
        number, _, part = name.partition(".")
        memories.setdefault(int(number), {})[part] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": memories})
    return Standing(step=step, history=history)


def _under(start: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
