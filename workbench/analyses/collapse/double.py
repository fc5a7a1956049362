"""A model in double precision, for numbers that fall below what single precision can tell from rounding."""

import copy
from dataclasses import replace

import torch
from torch import nn

from workbench.models.lens_model import LensModel

LARGEST = 50_000_000
"""Weights up to which a copy in double precision is made: at most 0.4 GB."""
ROUNDINGS = 4
"""How many machine epsilons what is only rounding reaches."""


def in_double(model: LensModel) -> LensModel:
    """A copy of a small model in double precision; the model itself where that is not to be had.

    Models of more than 50 million weights, quantised ones, those whose norms compute in single precision anyway, and
    devices without double precision stay as they are.
    """
    if model.dtype == torch.float64 or not (_plain(model) and _finest(model)):
        return model
    with model.lock:
        module = copy.deepcopy(model.module)
    return replace(model, module=module.double())


def resolution(model: LensModel) -> float:
    """About the smallest relative difference that is not rounding of the model's own states.

    Norms of some families (Llama's, T5's) compute in single precision whatever the model's weights are.
    """
    coarsest = torch.finfo(model.dtype).eps
    return ROUNDINGS * (coarsest if _finest(model) else max(coarsest, torch.finfo(torch.float32).eps))


def _finest(model: LensModel) -> bool:
    """Whether all norms compute in the type that they are given: torch's own do."""
    norms = [m for m in model.module.modules() if "Norm" in type(m).__name__]
    return all(type(m).__module__.startswith("torch.nn") for m in norms)


def _plain(model: LensModel) -> bool:
    modules, weights = list(model.module.modules()), list(model.module.parameters())
    homes = " ".join({type(m).__module__ for m in modules})
    ordinary = all(type(p) is nn.Parameter and p.is_floating_point() for p in weights)
    quantised = "quantized" in homes or "bitsandbytes" in homes or hasattr(model.module, "hf_quantizer")
    return ordinary and not quantised and model.n_params <= LARGEST and model.device.type != "mps"
