"""The type that numbers are computed in: single precision at least, whatever they come in."""

from functools import reduce

import torch
from torch import Tensor


def precise(values: Tensor) -> Tensor:
    """Half precision as float32, whole numbers as float64 (where different ones stay so); others as they are."""
    return values.to(precise_type(values.dtype))


def precise_type(*types: torch.dtype) -> torch.dtype:
    """The type that holds all of these, by the same rule."""
    together = reduce(torch.promote_types, types)
    if not together.is_floating_point:
        return together if together.is_complex else torch.float64
    return together if together.itemsize >= 4 else torch.float32
