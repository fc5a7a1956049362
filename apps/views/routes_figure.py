"""The route as a figure for files: what the screen shows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apps.text import visible

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

    from apps.views.routes_parts import Drawn

_WIDTHS = 10
"""Widths that edges are drawn in: a trace for each, since one for each edge would be thousands."""
_COLOURS = {"residual": "#b4b9c3", "past the mlp": "#b4b9c3", "attention": "#2f7fc4", "mlp": "#5c9e53"}
"""Of each kind, in the order of drawing."""
_MIDDLE = 0.56
"""Height, within a layer, of the stream between attention and MLP."""
_ASIDE = 0.24
_ALONG = 12  # points of a bent edge
_MOST_WORDS = 120


def route_figure(
    route: "Drawn", tokens: Sequence[str], n_layers: int, threshold: float, *, few: bool, title: str
) -> "go.Figure":
    """The edges that `threshold` keeps; with `few`, only tokens on the route have a column."""
    import numpy as np
    import plotly.graph_objects as go

    from workbench.analyses.circuits.route_links import ATTENTION, KINDS, MLP, RESIDUAL
    from workbench.plots.text import plain, sentence
    from workbench.plots.theme import styled

    kept = np.flatnonzero(route.held > threshold)
    columns = _columns(route, kept, len(tokens), few=few)
    place = np.full(len(tokens), np.nan)
    place[columns] = np.arange(len(columns))
    kind, layer = route.kind[kept], route.layer[kept]
    query, key = place[route.query[kept]], place[route.key[kept]]
    middle = 1.0 if route.one_sum else _MIDDLE
    first_sum = np.isin(kind, (ATTENTION, RESIDUAL)) | route.one_sum
    low, high = layer + np.where(first_sum, 0, middle), layer + np.where(first_sum, middle, 1)
    aside = np.where(kind == MLP, _ASIDE, np.where((kind == ATTENTION) & (query == key), -_ASIDE, 0))
    lines = _courses(np.stack([key, low]), np.stack([query, high]), aside)
    bins = np.ceil(np.clip(route.shares[kept, route.thresholds.index(threshold)], 1e-9, 1) * _WIDTHS).astype(int)
    figure = go.Figure()
    for name, colour in _COLOURS.items():
        for width in range(1, _WIDTHS + 1):
            if (one := (kind == KINDS.index(name)) & (bins == width)).any():
                x, y = lines[:, one].reshape(2, -1)
                line = {"width": 0.4 + 0.75 * width, "color": colour}
                figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")
    squares = kind == MLP
    _marks(figure, query[squares] + 0.75 * _ASIDE, (low + high)[squares] / 2, "square", _COLOURS["mlp"], 6)
    states = np.unique(np.stack([key, layer])[:, first_sum], axis=1)
    _marks(figure, states[0], states[1], "circle", "#7a8190", 4)
    _marks(figure, place[[route.target]], np.array([n_layers]), "triangle-down", "#d9822b", 11)
    every = -(-len(columns) // _MOST_WORDS)
    words = [plain(visible(tokens[int(i)]), limit=14) for i in columns[::every]]
    figure.update_xaxes(tickmode="array", tickvals=list(range(0, len(columns), every)), ticktext=words, tickangle=60)
    heights, names = [0.0, *(i + 0.5 for i in range(n_layers))], ["input", *map(str, range(n_layers))]
    figure.update_yaxes(tickmode="array", tickvals=heights, ticktext=names, title="layer")
    figure.update_xaxes(showgrid=False, zeroline=False).update_yaxes(showgrid=False, zeroline=False)
    size = {"width": max(700, 160 + 40 * len(columns)), "height": 220 + max(300, 24 * n_layers)}
    return styled(figure, title={"text": sentence(title)}, showlegend=False, **size)


def _columns(route: "Drawn", kept: "np.ndarray", n: int, *, few: bool) -> "np.ndarray":
    import numpy as np

    if not few:
        return np.arange(n)
    return np.unique(np.concatenate([route.query[kept], route.key[kept], [route.target]]))


def _courses(start: "np.ndarray", end: "np.ndarray", aside: "np.ndarray") -> "np.ndarray":
    """(2, edge, point) coordinates of each edge, with a NaN at the end that parts it from the next."""
    import numpy as np

    t = np.linspace(0, 1, _ALONG)
    ways = 3 * t**2 - 2 * t**3, t
    x, y = (a[:, None] + (b - a)[:, None] * way for a, b, way in zip(start, end, ways, strict=True))
    points = np.stack([x + aside[:, None] * np.sin(np.pi * t), y])
    return np.concatenate([points, np.full((*points.shape[:2], 1), np.nan)], axis=2)


def _marks(figure: "go.Figure", x: "np.ndarray", y: "np.ndarray", symbol: str, colour: str, size: int) -> None:
    marker = {"symbol": symbol, "size": size, "color": colour}
    figure.add_scatter(x=x, y=y, mode="markers", marker=marker, hoverinfo="skip")
