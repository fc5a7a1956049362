"""Pictures of one head: its pattern beside what each source moves, at the same scale; its score by dimension."""

from typing import TYPE_CHECKING

from apps.text import visible
from apps.views.sprite import css, scale
from apps.views.window import pooled

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from torch import Tensor

    from workbench.analyses.attention.head import Head

SIZE = 128  # cells a side
_FEW = 40  # tokens up to which all are written along the sides


def pair(found: "Head", *, start: int, end: int, hide_upper: bool, hide_first: bool, dark: bool) -> "go.Figure":
    """The pattern beside the value-weighted pattern, same tokens, same size, one scale of share of the row.

    The weighted rows are divided by their sums, so that both pictures say which share of a row a source has.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from workbench.plots.theme import styled

    panels = [("attention", found.pattern)]
    if found.weighted is not None:
        panels.append(("share of what is moved", shares(found.weighted)))
    square = len(found.queries) == len(found.keys)
    rows = slice(start, end) if square else slice(None)
    columns = slice(start, end)
    figure = make_subplots(1, len(panels), subplot_titles=[name for name, _ in panels], horizontal_spacing=0.08)
    step = 1
    for i, (name, pattern) in enumerate(panels, start=1):
        pattern = without_first(pattern) if hide_first else pattern
        cells, step = pooled(pattern[rows, columns], SIZE)
        values = cells.numpy().copy()
        if hide_upper and square:
            query, key = (axis.reshape(shape) for axis, shape in _grid(values.shape))
            values[key > query] = float("nan")
        figure.add_trace(
            go.Heatmap(
                z=values.astype("float32"),
                zmin=0,
                zmax=1,
                colorscale=[css(colour) for colour in scale(32, dark=dark)],
                hovertemplate=f"from %{{y}} to %{{x}}<br>{name} %{{z:.3f}}<extra></extra>",
                hoverongaps=False,
                showscale=i == len(panels),
                colorbar={"thickness": 10, "outlinewidth": 0, "len": 0.9},
            ),
            1,
            i,
        )
    styled(figure, height=520, margin={"l": 60, "r": 20, "t": 36, "b": 70})
    keys, queries = found.keys[columns], found.queries[rows]
    for i in range(1, len(panels) + 1):
        figure.update_xaxes(_ticks(keys, start, step), row=1, col=i, showgrid=False, zeroline=False)
        figure.update_yaxes(
            _ticks(queries, start if square else 0, step),
            autorange="reversed",
            showgrid=False,
            zeroline=False,
            showticklabels=i == 1,
            row=1,
            col=i,
        )
    figure.update_xaxes(title="key, looked at", title_standoff=8)
    figure.update_yaxes(title="query, looking", row=1, col=1)
    return figure


def without_first(pattern: "Tensor") -> "Tensor":
    """The pattern with its first column at zero and its rows summing to one again; a row of nothing else is NaN."""
    rest = pattern.clone()
    rest[:, 0] = 0
    return rest / rest.sum(-1, keepdim=True)


def shares(weighted: "Tensor") -> "Tensor":
    """Rows divided by their sums."""
    return weighted / weighted.sum(-1, keepdim=True)


def _grid(shape: tuple[int, ...]):
    import numpy as np

    query, key = np.indices(shape)
    return (query, shape), (key, shape)


def _ticks(tokens: tuple[str, ...], start: int, step: int) -> dict:
    from workbench.plots.text import plain

    if len(tokens) <= _FEW and step == 1:
        return {
            "tickmode": "array",
            "tickvals": list(range(len(tokens))),
            "ticktext": [plain(visible(token), limit=12) for token in tokens],
        }
    cells = -(-len(tokens) // step)
    every = max(1, cells // 12)
    places = list(range(0, cells, every))
    return {"tickmode": "array", "tickvals": places, "ticktext": [str(start + place * step) for place in places]}


def score_bars(found: "Head") -> "go.Figure":
    """q, k and their products by dimension, with the running sum of the score."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from workbench.plots.theme import CYCLE, DIVERGING, styled

    frame = found.qk_frame()
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.3, 0.7], vertical_spacing=0.06)
    top = float(frame[["q", "k"]].abs().to_numpy().max()) or 1.0
    figure.add_trace(
        go.Heatmap(
            z=[frame["q"].tolist(), frame["k"].tolist()], y=["q", "k"], colorscale=DIVERGING, zmid=0, zmin=-top,
            zmax=top, showscale=False, hovertemplate="dimension %{x}<br>%{y} %{z:.3f}<extra></extra>",
        ), 1, 1,
    )  # fmt: skip
    figure.add_trace(
        go.Bar(
            x=frame["dimension"], y=frame["term"], name="q × k", marker_color=CYCLE[0],
            hovertemplate="dimension %{x}<br>adds %{y:.3f}<extra></extra>",
        ), 2, 1,
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=frame["dimension"], y=frame["sum"], name="sum so far", mode="lines", line={"color": CYCLE[1], "width": 2},
            hovertemplate="up to %{x}<br>%{y:.3f}<extra></extra>",
        ), 2, 1,
    )  # fmt: skip
    styled(figure, height=360, margin={"l": 50, "r": 10, "t": 10, "b": 40}, legend={"orientation": "h", "y": -0.2})
    figure.update_xaxes(title="dimension of the head", row=2, col=1)
    return figure
