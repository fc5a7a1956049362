"""The figures of the study, out of its tables."""

from typing import Any

import plotly.graph_objects as go

from workbench import plots

Table = Any


def head_figure(heads: Table, most: int = 14) -> go.Figure:
    """The first heads: what their edges come to, what patching them does, and what they write on the answer."""
    tidy = heads.head(most).rename(columns={"score": "EAP-IG", "direct": "direct effect"})
    tidy = tidy.melt(["node"], ["EAP-IG", "patched", "direct effect"], "by", "drop of the logit difference")
    figure = plots.bars(tidy, x="node", y="drop of the logit difference", color="by")
    return figure.update_layout(height=380, margin={"t": 10, "b": 70})


def curve_figure(rows: Table) -> go.Figure:
    """Faithfulness by share of edges, of circuits and of edges in random order."""
    shown = rows[rows["edges"] > 0].rename(columns={"by": "edges by"})
    figure = plots.lines(shown, x="share", y="faithfulness", color="edges by")
    figure.update_xaxes(type="log", title="share of edges")
    return figure.update_layout(height=380, margin={"t": 10, "b": 80})


def patched_figure(edges: Table) -> go.Figure:
    """Each edge: by how much patching it lowers the logit difference, and by how much gradients say it does."""
    figure = plots.lines(
        edges.melt(["edge", "exact"], ["eap-ig", "eap"], "by", "score"), x="exact", y="score", color="by"
    )
    figure.update_traces(mode="markers")
    ends = [float(edges["exact"].min()), float(edges["exact"].max())]
    figure.add_scatter(x=ends, y=ends, mode="lines", name="equal", line={"width": 1, "dash": "dot"})
    figure.update_xaxes(title="patched")
    return figure.update_layout(height=400, margin={"t": 10, "b": 80})


def route_figure(heads: Table, named: int = 10) -> go.Figure:
    """Each head: its share of the routes, and what its edges come to; the first few by name."""
    figure = go.Figure()
    figure.add_scatter(
        x=heads["route"].tolist(),
        y=heads["score"].tolist(),
        text=[name if i < named else "" for i, name in enumerate(heads["node"])],
        mode="markers+text",
        textposition="middle right",
        textfont={"size": 10},
    )
    figure.update_xaxes(title="share of routes")
    figure.update_yaxes(title="EAP-IG, all edges of the head")
    return figure.update_layout(height=420, template="plotly_white", margin={"t": 10, "b": 80})
