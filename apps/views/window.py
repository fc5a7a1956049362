"""Long prompts in pieces: which positions a view shows, and large patterns pooled to what a screen can show."""

from typing import TYPE_CHECKING

import streamlit as st

from apps import state

if TYPE_CHECKING:
    from torch import Tensor


def window(
    count: int, width: int, *, name: str = "from", label: str = "Positions from", at_end: bool = False
) -> tuple[int, int]:
    """The first and one past the last position shown: all of a short prompt, else `width` of them from a slider.

    The slider begins at the first position, or `at_end`, where the model answers.
    """
    if count <= width:
        return 0, count
    last = count - width
    first = state.linked(
        st.slider,
        f"{label} (showing {width} of {count})",
        name,
        last if at_end else 0,
        read=state.whole(0, last),
        min_value=0,
        max_value=last,
    )
    return first, first + width


def pooled(pattern: "Tensor", size: int) -> "tuple[Tensor, int]":
    """A (query, key) pattern with at most `size` cells a side, and how many positions a cell holds.

    A cell is the largest value of its block, so that thin lines stay.
    """
    import torch

    block = -(-max(pattern.shape) // size)
    if block == 1:
        return pattern, 1
    padded = torch.nn.functional.max_pool2d(pattern[None, None], block, ceil_mode=True)
    return padded[0, 0], block
