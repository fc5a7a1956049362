"""Pictures of who learns to add, and of what filters do to the answers."""

from typing import Any

import plotly.graph_objects as go

from workbench import plots

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""


def learning_figure(history: Table) -> go.Figure:
    """Accuracy on held-out pairs against steps, a line for each kind of number embedding (mean over seeds)."""
    mean = history.groupby(["arm", "step"], as_index=False, sort=False)["test"].mean()
    return plots.lines(mean, x="step", y="test", color="arm", title="Held-out sums, by what numbers are embedded as")


def filter_figure(filters: Table) -> go.Figure:
    """Accuracy without the low or the high waves, by what was filtered, beside random filters of equal rank."""
    names = {"attn_out": "attention", "mlp_out": "MLP", "both": "both"}
    there = filters[filters["filter"] != "none"]
    mean = there.groupby(["part", "band", "filter"], as_index=False, sort=False)["accuracy"].mean()
    mean["filtered"] = [f"{names[part]}, {band}" for part, band in zip(mean["part"], mean["band"], strict=True)]
    return plots.bars(mean, x="filtered", y="accuracy", color="filter", title="Held-out sums with waves taken out")
