"""Every head in the colour of a number of its own, such as the attention that one token draws; a click names one."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from apps.views.component import component
from apps.views.grid import Layout, shown
from apps.views.qk_weights import UNDEFINED, two_sided
from apps.views.sprite import css, scale

if TYPE_CHECKING:
    import numpy as np

_LEVELS = 64


def palette(*, signed: bool, dark: bool) -> list[str]:
    """The colours from least to most; `signed` from red through nothing to blue."""
    return [css(colour) for colour in (two_sided(dark=dark) if signed else scale(_LEVELS, dark=dark))]


def colour_grid(
    numbers: "Mapping[str, np.ndarray]",
    layout: Layout,
    limits: tuple[float, float],
    *,
    key: str,
    locked: str,
    dark: bool,
    on_click: Callable[[], None],
) -> Any:
    """Draw the heads (layer, head) in the colours of the first of `numbers`; the others are said under the pointer.

    A click leaves "LAYER.HEAD" in `st.session_state[key].click`.
    """
    low, high = limits
    colours = palette(signed=low < 0, dark=dark)
    values = next(iter(numbers.values()))
    heads = values.shape[1]

    def colour(value: float) -> str:
        if value != value:
            return css(UNDEFINED)
        share = (value - low) / ((high - low) or 1.0)
        return colours[min(len(colours) - 1, max(0, int(share * len(colours))))]

    tiles = [
        {
            "id": f"{i // heads}.{i % heads}",
            "text": f"{i // heads}.{i % heads}",
            "title": f"layer {i // heads}, head {i % heads}",
            "at": [i % heads, i // heads],
            "colour": colour(float(values[i // heads, i % heads])),
            "under": "",
        }
        for i in layout.order
    ]
    data = {
        "sprite": None,
        "tiles": tiles,
        "tile": 34,
        "smooth": False,
        "columns": layout.columns,
        "rows": [{"text": text} for text in layout.rows] or None,
        "heads": list(layout.heads),
        "names": list(layout.names),
        "locked": locked,
        "chosen": [],
        "scores": {name: shown(each, layout.order) for name, each in numbers.items()},
    }
    return component("head_grid")(key=key, data=data, on_click_change=on_click)


def legend(title: str, limits: tuple[float, float], note: str, *, key: str, dark: bool) -> Any:
    """What the colours mean."""
    low, high = limits
    data = {
        "title": title,
        "bar": palette(signed=low < 0, dark=dark),
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "note": note,
    }
    return component("qk_legend")(key=key, data=data)
