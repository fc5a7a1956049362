"""The head grid: every head a small picture, in their places or in order of a score; a click names one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.views.component import component
from apps.views.sprite import sprite

if TYPE_CHECKING:
    import numpy as np

PLACES = "place"
"""The order that leaves each head in its layer."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which tile goes where."""

    order: tuple[int, ...]
    """Heads, numbered layer by layer, in the order they are drawn."""
    columns: int
    rows: tuple[str, ...] = ()
    """Labels of the rows; none where the tiles simply follow one another."""
    heads: tuple[str, ...] = ()
    """Labels of the columns."""
    names: tuple[str, str] = ("", "")


def in_place(layers: int, heads: int, *, across: bool) -> Layout:
    """Layers down and heads across, or the other way round, which fits deep models on a screen."""
    if across:
        order = tuple(layer * heads + head for head in range(heads) for layer in range(layers))
        return Layout(
            order=order, columns=layers, rows=numbers(heads), heads=numbers(layers), names=("head ↓ layer →", "")
        )
    return Layout(
        order=tuple(range(layers * heads)),
        columns=heads,
        rows=numbers(layers),
        heads=numbers(heads),
        names=("layer ↓ head →", ""),
    )


def by_score(values: "np.ndarray", *, lowest_first: bool = False, columns: int = 20) -> Layout:
    """Heads in the order of a score, at most `columns` a row; undefined ones last."""
    flat = [float(v) for v in values.reshape(-1)]
    sign = 1 if lowest_first else -1
    order = sorted(
        range(len(flat)), key=lambda i: (math.isnan(flat[i]), 0 if math.isnan(flat[i]) else sign * flat[i], i)
    )
    return Layout(order=tuple(order), columns=min(len(flat), columns))


def numbers(n: int) -> tuple[str, ...]:
    """Labels 0 to n - 1."""
    return tuple(map(str, range(n)))


def head_grid(
    pictures: "np.ndarray",
    layout: Layout,
    scores: "Mapping[str, np.ndarray]",
    *,
    key: str,
    locked: str = "",
    dark: bool = False,
    on_click: Callable[[], None],
) -> Any:
    """Draw the grid. `pictures` is (layer, head, height, width) uint8, each score (layer, head).

    A click leaves "LAYER.HEAD" in `st.session_state[key].click` and calls `on_click`.
    """
    layers, heads = pictures.shape[:2]
    sheet = sprite(pictures.reshape(-1, *pictures.shape[2:]), columns=heads, dark=dark)
    return tile_grid(sheet, heads, layout, scores, key=key, locked=locked, on_click=on_click)


def tile_grid(
    sheet: Mapping[str, Any],
    heads: int,
    layout: Layout,
    scores: "Mapping[str, np.ndarray]",
    *,
    key: str,
    locked: str = "",
    tile: int = 64,
    smooth: bool = False,
    under: Sequence[str] = (),
    on_click: Callable[[], None],
) -> Any:
    """Draw the grid from a `sheet` with `heads` pictures a row.

    Pictures are at most `tile` pixels wide; `smooth` ones are not drawn pixel by pixel. `under` is a text below each
    picture, layer by layer.
    """
    tiles = [
        {
            "id": f"{i // heads}.{i % heads}",
            "text": f"{i // heads}.{i % heads}",
            "title": f"layer {i // heads}, head {i % heads}",
            "at": [i % heads, i // heads],
            "under": under[i] if under else "",
        }
        for i in layout.order
    ]
    data = {
        "sprite": sheet,
        "tiles": tiles,
        "tile": tile,
        "smooth": smooth,
        "columns": layout.columns,
        "rows": [{"text": text} for text in layout.rows] or None,
        "heads": list(layout.heads),
        "names": list(layout.names),
        "locked": locked,
        "chosen": [],
        "scores": {name: shown(values, layout.order) for name, values in scores.items()},
    }
    return component("head_grid")(key=key, data=data, on_click_change=on_click)


def shown(values: "np.ndarray", order: Sequence[int]) -> list[float | None]:
    """Numbers of three figures in the order of the tiles; undefined ones are null."""
    flat = values.reshape(-1)
    return [None if math.isnan(flat[i]) else float(f"{flat[i]:.3g}") for i in order]
