"""A fingerprint of a model's weights: the same numbers under the same names give the same one."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def fingerprint(module: nn.Module) -> str:
    """sha256 over every weight and buffer of the state dict: about a second for each GB."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        for part in _plain(value):
            digest.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(value: Any) -> Iterator[Tensor]:
    """The ordinary tensors inside a weight: quantised ones are made of several."""
    if hasattr(value, "__tensor_flatten__"):
        for inner in value.__tensor_flatten__()[0]:
            yield from _plain(getattr(value, inner))
    elif isinstance(value, Tensor):
        yield value
