"""The route of a prediction: tokens along x, layers up, lines as wide as what they carry."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.plots.text import plain, sentence
from workbench.plots.theme import CYCLE, styled

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

COLOURS = {"attention": CYCLE[0], "residual": CYCLE[7], "mlp": CYCLE[1], "past the mlp": CYCLE[7]}
MARKS: dict[str, dict[str, Any]] = {
    "token": {"symbol": "circle", "size": 7},
    "attention": {"symbol": "circle", "size": 4},
    "mlp": {"symbol": "square", "size": 7, "color": CYCLE[1]},
    "state": {"symbol": "circle", "size": 6},
}
_WIDTHS = 8
"""Widths that lines are drawn in: a trace for each, since one for each line would be thousands."""


def route_graph(lines: "pd.DataFrame", marks: "pd.DataFrame", *, tokens: Sequence[str], title: str = "") -> "go.Figure":
    """Lines (x0, y0, x1, y1, contribution, kind, label) and marks (x, y, kind, label) over `tokens`.

    A look of a position at itself is drawn beside the line of the stream. Labels are shown under the pointer.
    """
    import numpy as np
    import plotly.graph_objects as go

    figure = go.Figure()
    lines = lines.assign(width=np.ceil(np.clip(lines["contribution"].to_numpy(dtype=float), 0, 1) * _WIDTHS))
    looks: Any = lines.groupby(["kind", "width"])
    for (kind, width), chosen in looks:
        x, y = _paths(chosen)
        line = {"width": 0.5 + 0.9 * width, "color": COLOURS[kind]}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, opacity=0.4 + 0.06 * width, hoverinfo="skip")
    if len(lines):  # where a line is hovered: a mark in its middle that is not seen
        x, y = _paths(lines)
        figure.add_scatter(
            x=x[1::4], y=y[1::4], mode="markers",
            marker={"size": 10, "opacity": 0}, text=[sentence(t) for t in lines["label"]],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    for kind, look in MARKS.items():
        chosen = marks[marks["kind"] == kind]
        figure.add_scatter(
            x=chosen["x"].tolist(), y=chosen["y"].tolist(), mode="markers", marker={"color": CYCLE[7], **look},
            text=[sentence(t) for t in chosen["label"]], hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    names = [plain(token, limit=16) for token in tokens]
    step = -(-len(names) // 80) or 1
    figure.update_xaxes(
        tickmode="array", tickvals=list(range(0, len(names), step)), ticktext=names[::step], tickangle=60,
        showgrid=False, zeroline=False, range=[-0.7, len(names) - 0.3],
    )  # fmt: skip
    top = marks["y"].to_numpy(dtype=float).max() if len(marks) else 1.0
    figure.update_yaxes(title="layers passed", showgrid=False, zeroline=False, range=[-0.4, top + 0.4])
    if top <= 12:
        figure.update_yaxes(dtick=1)
    return styled(
        figure,
        title={"text": sentence(title)} if title else None,
        showlegend=False,
        width=min(2400, max(640, 140 + 34 * len(names))),
        height=min(1600, 240 + int(44 * top)),
    )


def _paths(lines: "pd.DataFrame") -> "tuple[Any, Any]":
    """Coordinates of lines one after the other, with gaps: start, a bend for looks at oneself, end, gap."""
    import numpy as np

    start, end = lines[["x0", "y0"]].to_numpy(dtype=float), lines[["x1", "y1"]].to_numpy(dtype=float)
    middle = (start + end) / 2
    own = (lines["kind"].to_numpy() == "attention") & (start[:, 0] == end[:, 0])
    middle[own, 0] -= 0.25
    gap = np.full_like(start, np.nan)
    points = np.stack([start, middle, end, gap], 1).reshape(-1, 2)
    return points[:, 0], points[:, 1]
