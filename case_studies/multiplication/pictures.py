"""The figures of the study, out of its tables."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from case_studies.multiplication.problems import PLACES
from workbench import plots

Table = Any
SHOWN = ("ordinary", "reversed")


def learning_figure(history: Table) -> go.Figure:
    """Each digit of the answer over training, mean of the seeds, in both orders."""
    rows = history[history["setting"].isin(SHOWN)]
    columns = [f"accuracy.{place}" for place in range(PLACES, -1, -1)]
    means = rows.groupby(["setting", "step"], sort=False, as_index=False)[columns].mean()
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, subplot_titles=SHOWN, horizontal_spacing=0.04)
    for column, setting in enumerate(SHOWN, 1):
        tidy: Any = means[means["setting"] == setting].melt("step", columns, "place", "right")
        tidy["place"] = [_place(int(name.split(".")[1])) for name in tidy["place"]]
        lines: Any = plots.lines(tidy, x="step", y="right", color="place")
        for trace, colour in zip(lines.data, lines.layout.template.layout.colorway, strict=False):
            trace.update(line_color=colour, marker_color=colour, showlegend=column == 1, marker_size=4)
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="share right", col=1)
    return figure.update_layout(height=360, template="plotly_white", margin={"t": 40, "b": 60})


def _place(place: int) -> str:
    return {0: "units", PLACES: f"place {PLACES}, a carry alone"}.get(place, f"place {place}")


def reach_figure(reached: Table) -> go.Figure:
    """Right digits by how far down the carries chain, mean of the seeds of each setting."""
    shown = reached.groupby(["setting", "group"], sort=False, as_index=False)["right"].mean()
    shown = shown.rename(columns={"group": "places further down that must be looked at", "right": "share right"})
    figure = plots.bars(shown, x="places further down that must be looked at", y="share right", color="setting")
    return figure.update_layout(height=360, margin={"t": 10, "b": 60})


def operand_figure(operands: Table) -> go.Figure:
    """What each digit of the answer needs, attends to and falls without, in both orders; seed 0."""
    first = operands[operands["seed"] == 0]
    panels = {"needed": ("ordinary", "needed")}
    for setting in SHOWN:
        panels |= {f"{setting}: attention": (setting, "attention"), f"{setting}: fall without": (setting, "fall")}
    figure = make_subplots(
        rows=1, cols=len(panels), shared_yaxes=True, subplot_titles=list(panels), horizontal_spacing=0.02
    )
    for column, (setting, value) in enumerate(panels.values(), 1):
        rows: Any = first[first["setting"] == setting]
        grid = rows.pivot(index="place", columns="operand", values=value)
        grid = grid[list(pd.unique(rows["operand"]))].sort_index(ascending=False)
        figure.add_heatmap(
            z=(grid / grid.to_numpy().max()).to_numpy(),
            x=list(grid.columns),
            y=[str(place) for place in grid.index],
            text=[
                [f"{cell:.2f}".replace("0.", ".") if abs(cell) >= 0.005 else "" for cell in line]
                for line in grid.to_numpy()
            ],
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            showscale=False,
            row=1,
            col=column,
        )
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_yaxes(title="digit of the answer", col=1)
    return figure.update_layout(height=330, width=1300, template="plotly_white", margin={"t": 40, "b": 40})
