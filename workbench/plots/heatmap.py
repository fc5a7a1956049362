"""One coloured cell for each row of a frame."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.plots.text import plain, sentence, visible
from workbench.plots.theme import DIVERGING, SEQUENTIAL, styled
from workbench.plots.ticks import MOST, THIN, places, ticks

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_LETTERS = 8
"""Letters of a cell's word that are written; the whole word is under the pointer."""
_LETTER, _ROW = 10.5, 18
"""Pixels of a letter, and of a row."""
_PAGE = 2400
"""Pixels from which a figure is too wide to be looked at."""
_USUAL = (700, 450)
"""Width and height that plotly gives a figure that names none."""


def heatmap(
    frame: "pd.DataFrame",
    *,
    x: str,
    y: str,
    value: str,
    text: str | None = None,
    x_labels: str | None = None,
    y_labels: str | None = None,
    hover: Sequence[str] = (),
    center: float | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "",
    y_down: bool = False,
    square: bool = False,
) -> "go.Figure":
    """Cells at (`x`, `y`) coloured by `value`, with the column `text` written in them.

    `x_labels` and `y_labels` are columns of tick text (tokens), `hover` further columns to show under the pointer.
    `center` gives a diverging scale around that value; `limits` fixes its ends. The first `y` is at the bottom
    unless `y_down`. Missing cells stay empty. The figure is as large as its rows, and the words in its cells, need;
    where that is more than a page, the words are left to the pointer.
    """
    import plotly.graph_objects as go

    columns, rows = places(frame, x), places(frame, y)
    if text is not None and text not in hover:
        hover = (text, *hover)
    lines = [(y, y_labels), (x, x_labels), *((name, None) for name in hover)]
    shown = frame.assign(_hover=_hover(frame, lines))

    def grid(column: str) -> list[list]:
        return shown.pivot(index=y, columns=x, values=column).reindex(index=rows, columns=columns).to_numpy().tolist()

    trace = go.Heatmap(
        z=grid(value),
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        customdata=grid("_hover"),
        hovertemplate=f"{sentence(value)} %{{z:.4g}}<br>%{{customdata}}<extra></extra>",
        colorscale=SEQUENTIAL if center is None else DIVERGING,
        zmid=center,
        zmin=limits and limits[0],
        zmax=limits and limits[1],
        colorbar={"title": {"text": sentence(value), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hoverongaps=False,
    )
    words = [] if text is None else [plain(t, limit=_LETTERS) for t in shown[text]]
    letters = 0 if text is None else max((len(visible(t)[:_LETTERS]) for t in shown[text]), default=0)
    width = 190 + round(len(columns) * max(_ROW, _LETTER * letters))
    written = bool(words) and width <= _PAGE and len(rows) <= MOST
    if written:
        shown["_text"] = words
        trace.update(text=grid("_text"), texttemplate="%{text}", textfont={"size": 11})
    most = MOST if written else THIN
    height = 130 + _ROW * min(len(rows), most)
    figure = styled(go.Figure(trace), title={"text": sentence(title)} if title else None)
    figure.update_xaxes(title=sentence(x), showgrid=False, **ticks(frame, x, x_labels, most=most))
    figure.update_yaxes(
        title=sentence(y),
        showgrid=False,
        autorange="reversed" if y_down else None,
        **ticks(frame, y, y_labels, most=most),
    )
    if height > _USUAL[1]:
        figure.update_layout(height=height)
    if written and width > _USUAL[0]:
        figure.update_layout(width=width)
    if square:
        figure.update_yaxes(scaleanchor="x", constrain="domain").update_xaxes(constrain="domain")
    return figure


def _hover(frame: "pd.DataFrame", lines: list[tuple[str, str | None]]) -> list[str]:
    """One ready piece of hover text per row, so that no cell's text is ever read as a template."""
    parts = [
        [
            f"{sentence(name)} {plain(v)}" + (f" {plain(w)}" if labels else "")
            for v, w in zip(frame[name], frame[labels or name], strict=True)
        ]
        for name, labels in lines
    ]
    return ["<br>".join(row) for row in zip(*parts, strict=True)]
