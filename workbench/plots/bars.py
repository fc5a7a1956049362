"""One bar for each row of a frame."""

from typing import TYPE_CHECKING, Literal

from workbench.plots.text import plain, sentence
from workbench.plots.theme import styled
from workbench.plots.ticks import MOST, THIN, places, ticks

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_ROW = 18
"""Pixels of a lying bar, so that its name does not touch the next."""
_USUAL = 450
"""The height plotly gives a figure that names none."""


def bars(
    frame: "pd.DataFrame",
    *,
    x: str,
    y: str,
    color: str | None = None,
    x_labels: str | None = None,
    mode: Literal["group", "stack", "relative"] = "group",
    horizontal: bool = False,
    title: str = "",
) -> "go.Figure":
    """The length `y` of a bar at each `x`, coloured by `color`; `x_labels` is a column of tick text (tokens).

    Lying bars make the figure as tall as its rows need.
    """
    import plotly.graph_objects as go

    at = {v: i for i, v in enumerate(places(frame, x))}
    groups = [("", frame)] if color is None else [(v, frame[frame[color] == v]) for v in places(frame, color)]
    figure = go.Figure()
    for name, rows in groups:
        where, length = [at[v] for v in rows[x]], rows[y].tolist()
        figure.add_bar(
            x=length if horizontal else where,
            y=where if horizontal else length,
            orientation="h" if horizontal else "v",
            name=sentence(name) if color else None,
            customdata=[plain(v) for v in rows[x_labels or x]],
            hovertemplate=f"{sentence(x)} %{{customdata}}<br>{sentence(y)} %{{{'x' if horizontal else 'y'}:.4g}}",
        )
    styled(figure, title={"text": sentence(title)} if title else None, barmode=mode, showlegend=color is not None)
    places_axis, length_axis = (
        (figure.update_yaxes, figure.update_xaxes) if horizontal else (figure.update_xaxes, figure.update_yaxes)
    )
    if horizontal and (height := 110 + _ROW * min(len(at), MOST)) > _USUAL:
        figure.update_layout(height=height)
    ticked = ticks(frame, x, x_labels, most=MOST if horizontal else THIN)
    places_axis(title=sentence(x), **ticked, autorange="reversed" if horizontal else None)
    length_axis(title=sentence(y))
    return figure
