"""Maps of frequencies: panels of coloured cells, which can be clicked, or reached with the arrow keys."""

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.views.component import component
from apps.views.sprite import css, scale

if TYPE_CHECKING:
    import numpy as np

    from workbench.analyses.fourier.progress_result import ProgressMeasures
    from workbench.analyses.fourier.spectrum_result import FourierSpectrum

SHADES = 24
PARTS = {
    "resid_post": ("Residual stream", ("embed", "resid_post", "unembed")),
    "attn_out": ("Attention output", ("attn_out",)),
    "mlp_out": ("MLP output", ("mlp_out",)),
}
"""Panels of a spectrum: title, and the parts that it shows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Panel:
    """One table of cells; NaN is no cell."""

    title: str
    rows: tuple[str, ...]
    """Labels, from the top."""
    row_ids: tuple[str, ...]
    """What a click reports of a row; "" where nothing is."""
    columns: tuple[str, ...]
    under: tuple[str, ...]
    """A second label of each column, such as its period."""
    column_ids: tuple[str, ...]
    values: "np.ndarray"
    """(row, column)"""
    marked: "np.ndarray"
    """(row, column), true where a cell has a dot."""
    beside: "np.ndarray | None" = None
    """(row): a number that stands beside each row in the same colours."""
    beneath: tuple[str, ...] | None = None
    """A second label of each row, where rows have periods as columns do."""
    key: tuple[str, ...] = ()
    """Ids of the rows and columns whose labels are always written."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the map calls its things."""

    row: str
    column: str
    value: str
    under: str = ""
    unit: str = ""
    """What the numbers under the columns are counted in."""
    beside: str = ""
    mark: str = ""
    """What a dot means."""
    click: str = ""
    """What a click does; "" where it does nothing."""


def panels_of(found: "FourierSpectrum") -> tuple[Panel, ...]:
    """A panel for the stream with both tables of tokens, attention and MLPs; the last layer on top, all rows level."""
    import numpy as np

    frequencies = range(1, found.power.shape[1])
    shares, null = found.shares[:, 1:].numpy(), found.null.numpy()
    at = {(part, layer): i for i, (part, layer) in enumerate(zip(found.parts, found.layers, strict=True))}
    numbers = sorted({layer for layer in found.layers if layer.isdigit()}, key=int, reverse=True)
    levels = [*(["unembed"] if "unembed" in found.layers else []), *numbers]
    levels += ["embed"] if "embed" in found.layers else []
    panels = []
    for title, parts in PARTS.values():
        places = [next((at[part, level] for part in parts if (part, level) in at), None) for level in levels]
        if all(place is None for place in places):
            continue
        values = np.stack([np.full(len(frequencies), np.nan) if i is None else shares[i] for i in places])
        beside = np.array([np.nan if i is None else null[i] for i in places])
        panels.append(
            Panel(
                title=title,
                rows=tuple("" if i is None else level for i, level in zip(places, levels, strict=True)),
                row_ids=tuple("" if i is None else found.places[i] for i in places),
                columns=tuple(map(str, frequencies)),
                under=tuple(f"{found.period(k):.3g}" for k in frequencies),
                column_ids=tuple(map(str, frequencies)),
                values=values,
                marked=values > beside[:, None],
                beside=beside,
            )
        )
    return tuple(panels)


def pairs_panel(found: "ProgressMeasures") -> Panel:
    """The power of the logits by the frequencies of both operands; key frequencies have a dot on the diagonal."""
    import numpy as np

    values = found.pairs.numpy()
    frequencies = range(len(values))
    names = tuple(map(str, frequencies))
    marked = np.zeros(values.shape, bool)
    for k in found.key:
        marked[k, k] = True
    under = tuple("" if k == 0 else f"{found.period / k:.3g}" for k in frequencies)
    return Panel(
        title="cycles of a ↓, of b →",
        rows=names,
        row_ids=names,
        columns=names,
        under=under,
        column_ids=names,
        values=values,
        marked=marked,
        beneath=under,
        key=tuple(map(str, found.key)),
    )


def fourier_map(
    panels: Sequence[Panel],
    words: Words,
    *,
    chosen: tuple[str, str] = ("", ""),
    square: bool = False,
    key: str,
    dark: bool,
    on_click: Callable[[], None] = lambda: None,
) -> Any:
    """Draw the panels, the cell of the `chosen` (row, column) framed; `square` cells are as high as wide.

    A click leaves [row, column] in `st.session_state[key].click`.
    """
    data = map_data(panels, words, chosen, dark=dark) | {"square": square}
    return component("fourier_map")(key=key, data=data, on_click_change=on_click)


def map_data(panels: Sequence[Panel], words: Words, chosen: tuple[str, str], *, dark: bool) -> dict[str, Any]:
    """What the browser reads: a number a cell as float32, and labels as text."""
    return {
        "panels": [
            {
                "title": one.title,
                "rows": one.rows,
                "rowIds": one.row_ids,
                "columns": one.columns,
                "under": one.under,
                "columnIds": one.column_ids,
                "beneath": one.beneath,
                "keyRows": [i for i, name in enumerate(one.row_ids) if name in one.key],
                "keyColumns": [i for i, name in enumerate(one.column_ids) if name in one.key],
                "values": _packed(one.values),
                "marked": _packed(one.marked),
                "beside": None if one.beside is None else _packed(one.beside),
            }
            for one in panels
        ],
        "words": vars(words),
        "most": largest(panels),
        "chosen": list(chosen),
        "palette": [css(colour) for colour in scale(SHADES, dark=dark)],
    }


def largest(panels: Sequence[Panel]) -> float:
    """The end of the scale of colours."""
    import numpy as np

    parts = [part.ravel() for one in panels for part in (one.values, one.beside) if part is not None]
    most = float(np.nanmax(np.concatenate([*parts, [0.0]])))
    return most if most > 0 and math.isfinite(most) else 1.0


def _packed(values: "np.ndarray") -> str:
    import numpy as np

    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
