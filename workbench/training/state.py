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
_HOW = {"params", "foreach", "fused", "capturable", "differentiable"}
"""Of an optimizer's options those that say how it is computed; the others say what."""


@dataclass(kw_only=True)
class Standing:
    """How many updates are behind us, and what was measured on the way."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def described(optimizer: torch.optim.Optimizer, clip: float | None) -> dict[str, Any]:
    """The optimizer's kind and numbers: what a training must have in common with the one that it goes on from."""
    found: dict[str, Any] = {"optimizer": type(optimizer).__name__, f"{_OPTIMIZER}clip": clip}
    groups = optimizer.param_groups
    for number, group in enumerate(groups):
        name = _OPTIMIZER if len(groups) == 1 else f"{_OPTIMIZER}{number}."
        for option in sorted(group.keys() - _HOW):
            value = group[option]
            found[name + option] = value.item() if isinstance(value, torch.Tensor) else value
    return found


def suspend(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, standing: Standing, settings: Mapping[str, Any]
) -> None:
    """Write everything the next run needs to go on as if nothing had happened."""
    tensors = {f"{_MODEL}{name}": value for name, value in module.state_dict().items()}
    for number, memory in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{number}.{name}": _tensor(value, optimizer) for name, value in memory.items()}
    header = {
        "step": str(standing.step),
        "history": json.dumps(standing.history),
        "settings": json.dumps(dict(settings), sort_keys=True),
        "trained": str(_trained(optimizer)),
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
        theirs, trained = json.loads(header["settings"]), int(header.get("trained", _trained(optimizer)))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BadFile(f"{path} is no training that can be gone on with ({error}). Remove it to begin again.") from error
    mine = json.loads(json.dumps(dict(settings)))
    unsaid = {name: mine[name] for name in mine if name.startswith(_OPTIMIZER)}  # in states of earlier versions
    theirs = {**unsaid, **theirs}
    if names := _telling(theirs, mine):
        odd = ", ".join(f"{name} {theirs.get(name)!r} instead of {mine.get(name)!r}" for name in names)
        raise BadInput(f"{folder} holds a training with other settings: {odd}. Give another folder, or remove it.")
    weights, own = _under(_MODEL, tensors), module.state_dict()
    if {name: (x.shape, x.dtype) for name, x in weights.items()} != {n: (x.shape, x.dtype) for n, x in own.items()}:
        raise BadInput(f"{folder} holds a training of another model. Give another folder, or remove it.")
    if trained != _trained(optimizer):
        raise BadInput(
            f"{folder} holds a training of {trained} of the model's parameters, not of {_trained(optimizer)}. Give "
            "another folder, or remove it."
        )
    module.load_state_dict(weights)
    memories: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _under(_OPTIMIZER, tensors).items():
        number, _, part = name.partition(".")
        memories.setdefault(int(number), {})[part] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": memories})
    return Standing(step=step, history=history)


def forget(folder: str | Path) -> None:
    """Remove the states of all trainings in `folder` and below: the next ones begin anew. What they saved stays."""
    for state in Path(folder).rglob(FILE):
        state.unlink()


def _telling(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """The settings to name, of those that differ: the options of optimizers of two kinds go without saying."""
    odd = sorted(name for name in {*theirs, *mine} if theirs.get(name) != mine.get(name))
    if "optimizer" not in odd:
        return odd
    return [name for name in odd if not name.startswith(_OPTIMIZER) or name == f"{_OPTIMIZER}clip"]


def _trained(optimizer: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)


def _tensor(value: Any, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        name = type(optimizer).__name__
        raise BadInput(
            f"What {name} remembers cannot be kept in a folder ({error}). Take another optimizer, or no folder."
        ) from error


def _under(start: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
