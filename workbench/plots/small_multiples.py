"""Panels side by side, the same axes in each: bars, lines and points of a frame's rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from workbench.plots.text import sentence
from workbench.plots.theme import CYCLE, styled
from workbench.plots.ticks import THIN, places

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Mark = Literal["bar", "line", "points"]


def small_multiples(
    frame: "pd.DataFrame",
    *,
    panel: str,
    x: str,
    y: str,
    color: str,
    marks: Mapping[str, Mark],
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> "go.Figure":
    """One panel for each value of `panel`; in each, `y` against `x`, a colour for each value of `color`.

    `marks` says how each value of `color` is drawn: as bars, as a line, or as points, of which several may stand at one
    `x`. `limits` are those of `y`.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    panels, groups = places(frame, panel), places(frame, color)
    at = {v: i for i, v in enumerate(places(frame, x))}
    names = [sentence(name) for name in panels]
    shown: set[int] = set()
    figure = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, subplot_titles=names, horizontal_spacing=0.03)
    for column, name in enumerate(panels, 1):
        for number, group in enumerate(groups):
            rows = frame[(frame[panel] == name) & (frame[color] == group)]
            if not len(rows):
                continue
            shade = CYCLE[number % len(CYCLE)]
            shared = {
                "x": [at[v] for v in rows[x]],
                "y": rows[y].tolist(),
                "name": sentence(group),
                "legendgroup": str(number),
                "showlegend": number not in shown,
                "customdata": [sentence(v) for v in rows[x]],
                "hovertemplate": f"{sentence(x)} %{{customdata}}<br>{sentence(y)} %{{y:.4g}}",
            }
            shown.add(number)
            if marks[group] == "bar":
                figure.add_trace(go.Bar(**shared, marker={"color": shade}), row=1, col=column)
            else:
                look = {"color": shade, "size": 8, "line": {"width": 1, "color": "rgba(128, 134, 150, 0.9)"}}
                mode = "markers" if marks[group] == "points" else "lines+markers"
                figure.add_trace(go.Scatter(**shared, mode=mode, marker=look, line={"color": shade}), row=1, col=column)
    styled(figure, title={"text": sentence(title)} if title else None, margin={"t": 80})
    step = -(-len(at) // max(4, THIN // len(panels))) or 1
    figure.update_xaxes(
        title=sentence(x), tickvals=list(range(0, len(at), step)), ticktext=[sentence(v) for v in at][::step]
    )
    figure.update_yaxes(range=limits)
    return figure.update_yaxes(title=sentence(y), col=1)
