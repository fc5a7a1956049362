"""The lens grid: what each layer would answer at each position, as a table of words on a colour scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.text import short, visible
from apps.views.component import component
from apps.views.sprite import css, ink_on, scale

if TYPE_CHECKING:
    import numpy as np

LEVELS = 12


@dataclass(frozen=True, kw_only=True)
class Colouring:
    """What the colour of a cell says."""

    values: "np.ndarray"
    """(layer, pos) from 0, pale, to 1, strong; NaN is left blank."""
    low: str
    high: str
    what: str


def lens_grid(
    answers: Sequence[Sequence[Sequence[str]]],
    chances: "np.ndarray",
    colouring: Colouring,
    *,
    layers: Sequence[str],
    tokens: Sequence[str],
    first: int,
    last: int,
    notes: Callable[[int, int], str],
    key: str,
    locked: str = "",
    dark: bool = False,
    on_click: Callable[[], None],
) -> Any:
    """Draw positions `first` to `last` - 1, the last layer on top.

    `answers` are nested (layer, pos, k), `chances` their probabilities. A click leaves "LAYER.POSITION" in
    `st.session_state[key].click` and calls `on_click`.
    """
    palette = scale(LEVELS, dark=dark)
    rows = [
        {
            "layer": layer,
            "label": label,
            "cells": [
                {
                    "text": short(visible(answers[layer][pos][0]), 9),
                    "level": level_of(float(colouring.values[layer, pos])),
                    "top": [
                        [visible(text), f"{chance:.1%}" if chance >= 0.001 else f"{chance:.0e}"]
                        for text, chance in zip(answers[layer][pos], chances[layer, pos].tolist(), strict=True)
                    ],
                    "note": notes(layer, pos),
                }
                for pos in range(first, last)
            ],
        }
        for layer, label in reversed(list(enumerate(layers)))
    ]
    data = {
        "columns": [visible(token) for token in tokens[first:last]],
        "first": first,
        "rows": rows,
        "palette": [[css(colour), ink_on(colour)] for colour in palette],
        "legend": {"low": colouring.low, "high": colouring.high, "what": colouring.what},
        "locked": locked,
        "narrow": max(map(len, tokens)) <= 5 and all(len(cell["text"]) <= 2 for row in rows for cell in row["cells"]),
    }
    return component("lens_grid")(key=key, data=data, on_click_change=on_click)


def level_of(value: float) -> int | None:
    """The step of the colour scale for a value from 0 to 1; None for NaN."""
    return None if value != value else min(LEVELS - 1, max(0, int(value * LEVELS)))
