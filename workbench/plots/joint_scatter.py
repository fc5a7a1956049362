"""Points of two kinds in two or three dimensions: queries as circles, keys as squares, coloured by what they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from workbench.plots.text import plain, sentence
from workbench.plots.theme import CYCLE, styled

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

SYMBOLS = {"query": "circle", "key": "square"}
SCALES = {"number": "Viridis", "circular": "Phase"}
UNKNOWN = "rgba(128, 134, 150, 0.35)"


def joint_scatter(
    frame: "pd.DataFrame",
    *,
    colour: str,
    kind: Literal["category", "number", "circular"],
    categories: Sequence[str] = (),
    name: str = "",
    hover: Sequence[str] = ("kind", "token", "position"),
    title: str = "",
) -> "go.Figure":
    """One mark a row at `x`, `y` (and `z`, if there is one); the column `kind` says "query" or "key".

    `colour` is a column: the index of one of `categories`, or a number; NaN is drawn grey.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    bar = {"title": {"text": sentence(name), "side": "right"}, "thickness": 12, "outlinewidth": 0}
    if kind == "category":
        groups: list[tuple[int, str, Any]] = [(i, text, frame[frame[colour] == i]) for i, text in enumerate(categories)]
        groups.append((-1, "unknown", frame[frame[colour].isna()]))
        for i, text, rows in groups:
            if len(rows):
                colours: Any = {"color": UNKNOWN if i < 0 else CYCLE[i % len(CYCLE)]}
                figure.add_trace(_trace(rows, colours, hover, sentence(text)))
    else:
        scale = {"color": frame[colour].tolist(), "colorscale": SCALES[kind], "showscale": True, "colorbar": bar}
        limits = {"cmin": 0, "cmax": 1} if kind == "circular" else {}
        figure.add_trace(_trace(frame, scale | limits, hover, sentence(name)))
    styled(
        figure,
        title={"text": sentence(title)} if title else None,
        showlegend=kind == "category",
        height=620,
        legend={"title": {"text": sentence(name)}, "itemsizing": "constant"},
    )
    figure.update_xaxes(showticklabels=False, zeroline=False)
    return figure.update_yaxes(showticklabels=False, zeroline=False, scaleanchor="x")


def _trace(
    rows: "pd.DataFrame", colours: dict[str, Any], hover: Sequence[str], name: str
) -> "go.Scattergl | go.Scatter3d":
    import plotly.graph_objects as go

    said = zip(*(rows[column] for column in hover), strict=True)
    marks: dict[str, Any] = {"size": 5, "opacity": 0.75, "symbol": [SYMBOLS[k] for k in rows["kind"]], **colours}
    options: dict[str, Any] = {
        "x": rows["x"].tolist(),
        "y": rows["y"].tolist(),
        "mode": "markers",
        "name": name,
        "text": ["<br>".join(f"{sentence(c)} {plain(v)}" for c, v in zip(hover, one, strict=True)) for one in said],
        "hovertemplate": "%{text}<extra></extra>",
    }
    if "z" in rows:
        return go.Scatter3d(**options, z=rows["z"].tolist(), marker=marks | {"size": 3})
    return go.Scattergl(**options, marker=marks)
