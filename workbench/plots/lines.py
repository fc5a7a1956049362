"""One line for each group of a frame's rows."""

from typing import TYPE_CHECKING

from workbench.plots.text import plain, sentence
from workbench.plots.theme import styled
from workbench.plots.ticks import THIN, places, ticks

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def lines(
    frame: "pd.DataFrame",
    *,
    x: str,
    y: str,
    color: str | None = None,
    x_labels: str | None = None,
    title: str = "",
    markers: bool = True,
    log_x: bool = False,
) -> "go.Figure":
    """`y` against `x`, one line per value of `color`; `x_labels` is a column of tick text (tokens, site names).

    `log_x` gives each factor of `x` the same width; `x` is then a number above 0.
    """
    import plotly.graph_objects as go

    categorical = x_labels is not None or not all(isinstance(v, int | float) for v in frame[x])
    at = {v: i for i, v in enumerate(places(frame, x))} if categorical else None
    groups = [("", frame)] if color is None else [(v, frame[frame[color] == v]) for v in places(frame, color)]
    figure = go.Figure()
    for name, rows in groups:
        figure.add_scatter(
            x=[at[v] for v in rows[x]] if at else rows[x].tolist(),
            y=rows[y].tolist(),
            name=sentence(name) if color else None,
            mode="lines+markers" if markers else "lines",
            text=[plain(v) for v in rows[x_labels or x]],
            hovertemplate=f"{sentence(x)} %{{text}}<br>{sentence(y)} %{{y:.4g}}",
        )
    styled(figure, title={"text": sentence(title)} if title else None, showlegend=color is not None)
    if color is not None:
        figure.update_layout(legend={"title": {"text": sentence(color)}})
    figure.update_xaxes(title=sentence(x), **(ticks(frame, x, x_labels, most=THIN) if at else {}))
    if log_x:
        figure.update_xaxes(type="log")
    return figure.update_yaxes(title=sentence(y))
