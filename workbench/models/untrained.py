"""Untrained: a copy of a model with weights as they are before training, as a control of what its shape alone gives."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import UnsupportedModel
from workbench.models.lens_model import LensModel


def untrained_copy(model: LensModel, seed: int = 0) -> LensModel:
    """The same model with other weights, which need their memory a second time; `model` and global seeds stay as found.

    Modules of `transformers` are made anew from their config, so the weights are drawn as their authors draw them.
    Of other modules, each weight is drawn from a normal distribution with its own mean and standard deviation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _from_config(model.module) if hasattr(model.module, "_init_weights") else _redrawn(model.module)
    module = module.to(model.device, model.dtype).eval().requires_grad_(False)
    for mine, its in zip(module.parameters(), model.module.parameters(), strict=True):
        mine.requires_grad_(its.requires_grad)
    return replace(model, module=module, name=f"{model.name} (untrained)")


def _from_config(module: Any) -> nn.Module:
    config = copy.deepcopy(module.config)
    config._attn_implementation = module.config._attn_implementation
    fresh = type(module)(config)
    if shapes(fresh) != shapes(module):
        raise UnsupportedModel(
            f"{type(module).__name__} made from its config has other weights than this one (it may be quantised or"
            " changed since it was loaded), so there is no untrained copy of it."
        )
    return fresh


def _redrawn(module: nn.Module) -> nn.Module:
    fresh = copy.deepcopy(module)
    with torch.no_grad():
        for weight in fresh.parameters():
            if weight.is_floating_point():
                weight.copy_(_alike(weight))
    return fresh


def _alike(weight: Tensor) -> Tensor:
    spread = weight.float().std(correction=0)
    return torch.randn(weight.shape) * spread.cpu() + weight.float().mean().cpu()


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of each weight."""
    return {name: tuple(weight.shape) for name, weight in module.named_parameters()}
