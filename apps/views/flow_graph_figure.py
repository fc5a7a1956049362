"""The graph of tokens as a figure for files: what the screen shows."""

from typing import TYPE_CHECKING

from apps.text import visible
from apps.views.flow_edges import Edges
from apps.views.flow_graph import Window

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

_WIDTHS = 10
"""Widths that edges are drawn in: a trace for each, since one for each edge would be thousands."""


def graph_figure(
    window: Window,
    edges: Edges,
    numbers: "np.ndarray",
    *,
    target: tuple[int, int],
    source: int | None,
    thin: float,
    title: str,
) -> "go.Figure":
    """The graph below `target` (level, node), without edges thinner than `thin`, `numbers` beside the tokens."""
    import numpy as np
    import plotly.graph_objects as go

    from workbench.plots.text import plain, sentence
    from workbench.plots.theme import styled

    kept = (edges.value >= thin) & (edges.value > 0)
    bins = np.ceil(np.clip(edges.value, 0, 1) * _WIDTHS).astype(int)
    figure = go.Figure()
    for width in range(1, _WIDTHS + 1):
        for own, colour in ((False, "#2f7fc4"), (True, "#8a919e")):
            chosen = kept & (bins == width) & ((edges.query == edges.key) == own)
            if not chosen.any():
                continue
            gap = np.full(int(chosen.sum()), np.nan)
            figure.add_scatter(
                x=np.stack([edges.query[chosen], edges.key[chosen], gap], 1).reshape(-1),
                y=np.stack([edges.step[chosen] + 1, edges.step[chosen], gap], 1).reshape(-1),
                mode="lines",
                line={"width": 0.4 + 0.9 * width, "color": colour},
                opacity=0.35 + 0.055 * width,
                hoverinfo="skip",
            )
    across = np.arange(window.first, window.last)
    nodes = np.stack(np.meshgrid(across, np.arange(len(window.steps) + 1)), -1).reshape(-1, 2)
    figure.add_scatter(
        x=nodes[:, 0], y=nodes[:, 1], mode="markers", marker={"size": 4, "color": "#8a919e"}, hoverinfo="skip"
    )
    marked = [(target[1], target[0]), *([(source, 0)] if source is not None else [])]
    figure.add_scatter(
        x=[x for x, _ in marked],
        y=[y for _, y in marked],
        mode="markers",
        marker={"size": 12, "color": "#d9822b"},
        hoverinfo="skip",
    )
    labels = [f"{numbers[i]:.2f}  {plain(visible(window.tokens[i]), limit=14)}" for i in across.tolist()]
    figure.update_xaxes(tickmode="array", tickvals=across.tolist(), ticktext=labels, tickangle=60, showgrid=False)
    names = ["input", *map(sentence, window.steps)]
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=names, showgrid=False)
    figure.update_xaxes(zeroline=False).update_yaxes(zeroline=False)
    return styled(
        figure,
        title={"text": sentence(title)},
        showlegend=False,
        width=max(700, 160 + 40 * len(across)),
        height=200 + max(300, 24 * len(names)),
    )
