"""What is refused before anything is computed: missing axes, NaN and infinity, numbers that are not whole."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Real
from torch import Tensor

from workbench.errors import BadInput


def need_axes(what: str, x: Tensor, axes: str, *, batched: bool = True) -> None:
    """Refuse tensors without the axes named, as "point d"; more may come before them where they are `batched`."""
    names = axes.split()
    if x.ndim < len(names) or x.ndim > len(names) and not batched:
        more = "*, " if batched else ""
        raise BadInput(f"{what} have the axes ({more}{', '.join(names)}); these have the shape {tuple(x.shape)}.")


def need_finite(what: str, points: Tensor) -> None:
    """Refuse points (*batch, point, d) that hold NaN or infinity, with how many do."""
    if bad := not_finite(points):
        raise BadInput(f"{bad} of {points.shape[:-1].numel()} {what} hold NaN or infinity: leave them out.")


def need_whole(name: str, number: Any) -> None:
    """Refuse numbers that are not whole, 2.0 too."""
    if not isinstance(number, Integral) or isinstance(number, bool):
        raise BadInput(f"{name} is a whole number, not {number!r}.")


def need_frequencies(frequencies: Sequence[int]) -> list[int]:
    """Frequencies in order, each once; refuses what is no list of whole numbers."""
    if isinstance(frequencies, Tensor) or not isinstance(frequencies, Iterable):
        raise BadInput(
            f"Frequencies are a list of whole numbers such as (1, 2), not {frequencies!r}; of a tensor, .tolist()."
        )
    for k in frequencies:
        need_whole("A frequency", k)
    return sorted({int(k) for k in frequencies})


def need_real(what: str, x: Tensor) -> None:
    """Refuse complex numbers, of which only the real part would count."""
    if x.is_complex():
        raise BadInput(f"{what} are real numbers, not {str(x.dtype).removeprefix('torch.')}: give .real, or .abs().")


def need_mask(mask: Tensor) -> None:
    """Refuse masks that are not true or false."""
    if mask.dtype != torch.bool:
        raise BadInput(f"A mask is true or false; this one is of type {str(mask.dtype).removeprefix('torch.')}.")


def need_whole_numbers(what: str, x: Tensor) -> None:
    """Refuse tensors of numbers with a fraction."""
    if x.is_floating_point() or x.is_complex():
        raise BadInput(f"{what} are whole numbers; these are of type {str(x.dtype).removeprefix('torch.')}.")


def not_finite(points: Real[Tensor, "*batch point d"]) -> int:
    """How many points hold NaN or infinity, counted a cloud at a time: what is asked of all of them is as large."""
    return sum(
        int((~cloud.isfinite()).any(-1).sum())
        for cloud in points.reshape(points.shape[:-2].numel(), *points.shape[-2:])
    )
