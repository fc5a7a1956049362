"""The figures of the study, out of its tables."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

Table = Any
COLOURS = ("#4c78a8", "#e45756", "#54a24b", "#b279a2")


def map_figure(table: Table) -> go.Figure:
    """The closest algorithm by depth and noise, with the penalty of the ridge regression that comes nearest; seed 0."""
    rows = table[table["seed"] == 0]
    depths, noises = sorted(rows["depth"].unique()), sorted(rows["noise"].unique())
    family = {"descent": 0, "ridge": 1, "least": 2, "nothing": 3}
    z, text = [], []
    for noise in noises:
        cells = [rows[(rows["depth"] == depth) & (rows["noise"] == noise)].iloc[0] for depth in depths]
        z.append([family[cell["closest"].split()[0].strip(",")] for cell in cells])
        text.append(
            [
                f"{cell['closest']}{'' if cell['beyond'] else ' (tie)'}<br>{distance(cell):.1%} away"
                f"<br>fitted penalty {cell['penalty']:.2g}"
                for cell in cells
            ]
        )
    figure = go.Figure(
        go.Heatmap(
            z=z,
            x=[f"{depth} layer{'' if depth == 1 else 's'}" for depth in depths],
            y=[f"noise {noise:g}" for noise in noises],
            text=text,
            texttemplate="%{text}",
            colorscale=[[0, "#f2cf9a"], [0.34, "#a9c9e8"], [0.67, "#a8d8a8"], [1, "#dddddd"]],
            zmin=0,
            zmax=3,
            showscale=False,
            xgap=3,
            ygap=3,
        )
    )
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(
        height=330,
        width=700,
        template="plotly_white",
        title={"text": "Closest algorithm: descent (sand), ridge (blue), least squares (green)", "font": {"size": 14}},
        margin={"t": 50, "b": 30, "l": 70, "r": 10},
    )


def distance(cell: Any) -> float:
    """How far the closest algorithm is."""
    return float(cell[cell["closest"]])


def step_figure(history: Table, shifts: Table, one_step: float) -> go.Figure:
    """The linear layer's loss over training with that of one step of descent, and both on other inputs; seed 0."""
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12, subplot_titles=("over training", "other inputs"))
    rows = history[history["setting"] == "linear"]
    for colour, (seed, line) in zip(COLOURS, rows.groupby("seed"), strict=False):
        figure.add_scatter(
            x=line["step"], y=line["loss"], name=f"seed {seed}", line_color=colour, mode="lines", row=1, col=1
        )
    figure.add_hline(one_step, line_dash="dot", annotation_text="one step of descent", row=1, col=1)  # pyright: ignore
    reach = shifts[(shifts["seed"] == 0) & shifts["case"].str.startswith("range")]
    places = [float(case.split()[1]) for case in reach["case"]]
    figure.add_scatter(
        x=places, y=reach["one step"], name="one step", line={"color": "#888888", "width": 6}, row=1, col=2
    )
    figure.add_scatter(x=places, y=reach["trained layer"], name="trained layer", line_color="#e45756", row=1, col=2)
    figure.update_xaxes(title="step", row=1, col=1)
    figure.update_xaxes(title="inputs from -a to a (1 in training)", row=1, col=2)
    figure.update_yaxes(title="squared error", row=1, col=1)
    figure.update_yaxes(title="error / answers'", row=1, col=2)
    return figure.update_layout(
        height=330, width=700, template="plotly_white", margin={"t": 40, "b": 50, "l": 60, "r": 10}
    )
