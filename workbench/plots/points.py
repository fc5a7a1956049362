"""One mark for each row of a frame, at two of its columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.plots.text import plain, sentence
from workbench.plots.theme import DIVERGING, SEQUENTIAL, styled

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def scatter(
    frame: "pd.DataFrame",
    *,
    x: str,
    y: str,
    color: str | None = None,
    label: str | None = None,
    hover: Sequence[str] = (),
    center: float | None = None,
    title: str = "",
    same_scale: bool = False,
) -> "go.Figure":
    """Marks at (`x`, `y`) coloured by the number in `color`; `label` is written beside each, `hover` under the pointer.

    `center` gives a diverging scale around that value. `same_scale` makes a unit as long across as up, as maps need.
    """
    import plotly.graph_objects as go

    columns = (*((label,) if label else ()), *hover)
    lines = zip(*(frame[column] for column in columns), strict=True) if columns else [()] * len(frame)
    marker: dict[str, Any] = {"size": 10, "opacity": 0.9, "line": {"width": 0.5, "color": "rgba(128, 134, 150, 0.6)"}}
    if color is not None:
        bar = {"title": {"text": sentence(color), "side": "right"}, "thickness": 12, "outlinewidth": 0}
        scale = {"colorscale": SEQUENTIAL if center is None else DIVERGING, "cmid": center}
        marker |= {"color": frame[color].tolist(), "colorbar": bar, "showscale": True, **scale}
    figure = go.Figure(
        go.Scatter(
            x=frame[x].tolist(),
            y=frame[y].tolist(),
            mode="markers" if label is None else "markers+text",
            text=None if label is None else [plain(v) for v in frame[label]],
            textposition="top center",
            textfont={"size": 10},
            marker=marker,
            customdata=[
                "<br>".join(f"{sentence(c)} {plain(v)}" for c, v in zip(columns, one, strict=True)) for one in lines
            ],
            hovertemplate="%{customdata}<extra></extra>" if columns else None,
        )
    )
    styled(figure, title={"text": sentence(title)} if title else None, showlegend=False, height=560)
    figure.update_xaxes(title=sentence(x))
    if same_scale:
        figure.update_yaxes(scaleanchor="x")
    return figure.update_yaxes(title=sentence(y))
