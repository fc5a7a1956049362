"""One coloured cell for each row of a frame."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.plots.text import plain
from workbench.plots.theme import DIVERGING, SEQUENTIAL, styled
from workbench.plots.ticks import places, ticks

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


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
    unless `y_down`. Missing cells stay empty.
    """
    import plotly.graph_objects as go

    columns, rows = places(frame, x), places(frame, y)
    lines = [(y, y_labels), (x, x_labels), *((name, None) for name in hover)]
    shown = frame.assign(_hover=_hover(frame, lines))

    def grid(column: str) -> list[list]:
        return shown.pivot(index=y, columns=x, values=column).reindex(index=rows, columns=columns).to_numpy().tolist()

    trace = go.Heatmap(
        z=grid(value),
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        customdata=grid("_hover"),
        hovertemplate=f"{plain(value)} %{{z:.4g}}<br>%{{customdata}}<extra></extra>",
        colorscale=SEQUENTIAL if center is None else DIVERGING,
        zmid=center,
        zmin=limits and limits[0],
        zmax=limits and limits[1],
        colorbar={"title": {"text": plain(value), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hoverongaps=False,
    )
    if text is not None:
        shown["_text"] = [plain(t, limit=14) for t in shown[text]]
        trace.update(text=grid("_text"), texttemplate="%{text}")
    figure = styled(go.Figure(trace), title={"text": plain(title)} if title else None)
    figure.update_xaxes(title=plain(x), showgrid=False, **ticks(frame, x, x_labels))
    figure.update_yaxes(
        title=plain(y), showgrid=False, autorange="reversed" if y_down else None, **ticks(frame, y, y_labels)
    )
    if square:
        figure.update_yaxes(scaleanchor="x", constrain="domain").update_xaxes(constrain="domain")
    return figure


def _hover(frame: "pd.DataFrame", lines: list[tuple[str, str | None]]) -> list[str]:
    """One ready piece of hover text per row, so that no cell's text is ever read as a template."""
    parts = [
        [
            f"{plain(name)} {plain(v)}" + (f" {plain(w)}" if labels else "")
            for v, w in zip(frame[name], frame[labels or name], strict=True)
        ]
        for name, labels in lines
    ]
    return ["<br>".join(row) for row in zip(*parts, strict=True)]
