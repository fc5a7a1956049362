"""Figures of the study."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench import plots

_NAMES = {
    "loss": "loss (share of 4.16 nats)",
    "prefix_matching_all.1": "best prefix matching, layer 1",
    "eigenvalues.1": "best copying, layer 1",
    "previous_token.0.sum": "previous token, layer 0 together",
}
_WIDE = {"width": 700, "margin": {"l": 60, "r": 20, "t": 40, "b": 50}}


def emergence_figure(history: Any, chance: float) -> go.Figure:
    """Loss and scores over the training of seed 0, on one scale."""
    rows = history[(history["setting"] == "two-layers") & (history["seed"] == 0)]
    rows = rows.assign(loss=rows["loss"] / chance)[["step", *_NAMES]]
    tidy = rows.melt("step", list(_NAMES), "what").replace({"what": _NAMES})
    figure = plots.lines(tidy, x="step", y="value", color="what")
    figure.update_layout(height=380, legend={"orientation": "h", "y": -0.2, "title": None}, **_WIDE)
    return figure.update_yaxes(title=None)


def loss_figure(history: Any) -> go.Figure:
    """The loss on what can be known, of all trainings."""
    rows = history.assign(training=history["setting"].str.replace("-", " ") + ", seed " + history["seed"].astype(str))
    figure = plots.lines(rows[["step", "loss", "training"]], x="step", y="loss", color="training")
    figure.update_layout(height=380, legend={"orientation": "h", "y": -0.2, "title": None}, **_WIDE)
    return figure.update_yaxes(title="loss on repeats (nats)", rangemode="tozero")


def token_figure(falls: pd.DataFrame) -> go.Figure:
    """By how much the loss on each token falls during the change, by how often it has been there."""
    figure = plots.lines(falls, x="pos", y="fall", color="step")
    figure.update_layout(height=340, legend={"orientation": "h", "y": -0.25, "title": "until step"}, **_WIDE)
    figure.update_xaxes(title="position of the token")
    return figure.update_yaxes(title="fall of the loss since step 440 (nats)")


def circuit_figure(history: pd.DataFrame) -> go.Figure:
    """How many edges the circuit needs at each step, as a share of all, and how much the final circuit does there."""
    rows = history.assign(share=history["share"].where(history["found"] == 1))
    names = {"accuracy": "right", "share": "share of edges needed", "last_circuit": "faithfulness of the last circuit"}
    tidy = rows.melt("step", list(names), "what").dropna().replace({"what": names})
    figure = plots.lines(tidy, x="step", y="value", color="what")
    figure.update_layout(height=360, legend={"orientation": "h", "y": -0.2, "title": None}, **_WIDE)
    return figure.update_yaxes(title=None)
