"""Pictures of a logit taken apart and of the stream that wrote it."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.analyses.readout.residual import Residual

_HEAD = re.compile(r"(?P<layer>\d+)\.[a-z_]*attn\.z:(?P<head>\d+)$")


def bars(frame: "pd.DataFrame", most: int) -> "go.Figure":
    """What each part adds, in the order it is written; beyond `most`, the largest with the others as one bar."""
    import plotly.graph_objects as go

    from workbench.plots.theme import CYCLE, styled

    parts, values = frame["part"].tolist(), frame["contribution"].tolist()
    if len(parts) > most:
        kept = sorted(sorted(range(len(parts)), key=lambda i: -abs(values[i]))[: most - 1])
        rest = sum(values) - sum(values[i] for i in kept)
        parts = [*(parts[i] for i in kept), f"the other {len(values) - len(kept)}"]
        values = [*(values[i] for i in kept), rest]
    total, sums = 0.0, []
    for value in values:
        total += value
        sums.append(total)
    figure = go.Figure()
    figure.add_bar(
        x=parts,
        y=values,
        name="adds",
        marker_color=[CYCLE[0] if value >= 0 else CYCLE[1] for value in values],
        hovertemplate="%{x}<br>adds %{y:.4f}<extra></extra>",
    )
    figure.add_scatter(
        x=parts,
        y=sums,
        name="sum so far",
        mode="lines+markers",
        line={"color": "#8a919e", "width": 1.2, "dash": "dot"},
        marker={"size": 4},
        hovertemplate="up to %{x}<br>%{y:.4f}<extra></extra>",
    )
    styled(figure, height=430, showlegend=False, margin={"l": 50, "r": 10, "t": 20, "b": 110})
    figure.update_yaxes(title="logit")
    return figure.update_xaxes(tickangle=-60, tickfont={"size": 10}, type="category")


def layers_map(found: "Residual") -> "go.Figure | None":
    """What each head adds, as layers by heads; None where the parts are not heads."""
    import pandas as pd

    from workbench import plots

    frame = found.contributions_frame()
    rows = [
        {"layer": int(m["layer"]), "head": int(m["head"]), "contribution": value}
        for part, value in zip(frame["part"], frame["contribution"], strict=True)
        if (m := _HEAD.search(part))
    ]
    if not rows:
        return None
    top = max(abs(row["contribution"]) for row in rows) or 1.0
    figure = plots.heatmap(
        pd.DataFrame(rows), x="head", y="layer", value="contribution", center=0.0, limits=(-top, top), y_down=True
    )
    return figure.update_layout(height=max(430, figure.layout.height or 0), margin={"t": 20})


def stream(found: "Residual") -> "go.Figure":
    """Both curves of the stream beside each other, as the screen shows them."""
    from plotly.subplots import make_subplots

    from workbench.plots.theme import styled

    figure = make_subplots(1, 2, horizontal_spacing=0.1)
    for column, quantity in enumerate(("norm", "cosine"), start=1):
        drawn = curves(found, quantity)
        figure.add_traces(drawn.data, rows=1, cols=column)
        figure.update_xaxes(title=drawn.layout.xaxis.title.text, type=drawn.layout.xaxis.type, col=column)
        figure.update_yaxes(title=drawn.layout.yaxis.title.text, type=drawn.layout.yaxis.type, col=column)
    figure.update_traces(showlegend=False, col=2)
    legend = {"orientation": "h", "y": -0.2, "yanchor": "top"}
    return styled(figure, height=420, margin={"l": 60, "r": 20, "t": 20, "b": 90}, legend=legend)


def curves(found: "Residual", quantity: str) -> "go.Figure":
    """Length of the stream, or its cosine with the last state, through the layers: the middle of all positions,
    their spread, and the position that is read.
    """
    import numpy as np
    import plotly.graph_objects as go

    from workbench.plots.theme import CYCLE, styled

    values = (found.norms if quantity == "norm" else found.cosine).numpy()
    layers = list(found.layers)
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1)
    figure = go.Figure()
    figure.add_scatter(
        x=[*layers, *layers[::-1]],
        y=[*high.tolist(), *low.tolist()[::-1]],
        fill="toself",
        fillcolor="rgba(76,120,168,0.18)",
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        name="80 % of positions",
    )
    figure.add_scatter(x=layers, y=middle.tolist(), name="median position", line={"color": CYCLE[0]}, mode="lines")
    figure.add_scatter(
        x=layers, y=values[:, 0].tolist(), name="position 0", line={"color": "#8a919e", "dash": "dot"}, mode="lines"
    )
    figure.add_scatter(
        x=layers,
        y=values[:, found.position].tolist(),
        name=f"position {found.position}",
        line={"color": CYCLE[1]},
        mode="lines",
    )
    title = "length of the stream" if quantity == "norm" else "cosine with the last state"
    legend = {"orientation": "h", "y": -0.28, "yanchor": "top"}
    styled(figure, height=400, margin={"l": 55, "r": 10, "t": 20, "b": 90}, legend=legend)
    positive = quantity == "norm" and bool((values > 0).all())
    figure.update_yaxes(title=title, type="log" if positive and values.max() > 50 * values.min() else "linear")
    return figure.update_xaxes(title="after layer", type="category")
