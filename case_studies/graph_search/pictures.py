"""The figures of the study, out of its tables."""

from typing import Any

import plotly.graph_objects as go

from case_studies.graph_search.problems import LOOK_AHEADS
from workbench import plots

Table = Any


def staircase_figure(history: Table) -> go.Figure:
    """Right next vertices by look-ahead over training, on balanced problems; a panel for each setting, seed 0."""
    columns = [f"accuracy.{far}" for far in LOOK_AHEADS]
    tidy: Any = history[history["seed"] == 0].melt(["setting", "step"], columns, "look-ahead", "share right")
    tidy["look-ahead"] = [f"look-ahead {name.split('.')[1]}" for name in tidy["look-ahead"]]
    marks: Any = {f"look-ahead {far}": "line" for far in LOOK_AHEADS}
    figure = plots.small_multiples(
        tidy, panel="setting", x="step", y="share right", color="look-ahead", marks=marks, limits=(-0.02, 1.02)
    )
    figure.update_traces(marker={"size": 3})
    return figure.update_layout(height=340, margin={"t": 40, "b": 60})


def accuracy_figure(accuracy: Table) -> go.Figure:
    """Right next vertices by look-ahead, mean of the seeds of each setting."""
    rows = accuracy[accuracy["problems"] == "balanced"]
    shown: Any = rows.groupby(["setting", "look-ahead"], sort=False, as_index=False)["right"].mean()
    shown = shown.rename(columns={"right": "share right"})
    shown["look-ahead"] = shown["look-ahead"].astype(str)
    figure = plots.bars(shown, x="look-ahead", y="share right", color="setting")
    return figure.update_layout(height=340, margin={"t": 10, "b": 60})


def explained_figure(explained: Table) -> go.Figure:
    """Share of problems whose whole path comes to the answer by merging, mean of the seeds, with the controls."""
    shown: Any = explained.groupby(["model", "look-ahead"], sort=False, as_index=False)["whole"].mean()
    shown = shown.rename(columns={"whole": "share explained"})
    shown["look-ahead"] = shown["look-ahead"].astype(str)
    figure = plots.bars(shown, x="look-ahead", y="share explained", color="model")
    return figure.update_layout(height=340, margin={"t": 10, "b": 60})
