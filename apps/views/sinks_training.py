"""Sinks and massive activations over training in pictures and a sentence."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

PICTURES = {"mass": "Attention", "values": "Values and states", "numbers": "Largest numbers"}
LINES: dict[str, tuple[tuple[str, ...], str]] = {
    "mass": (
        ("largest mass", "mean mass", "share of sink heads"),
        "Attention that the token draws: in the head that gives most, and mean of all heads; and the share of heads "
        "that give more than 0.3.",
    ),
    "values": (
        ("lowest value", "median value", "largest state"),
        "The token's value times the mean of the others': in the head where it is shortest, and in the median one; and "
        "its state times the median of the others', in the layer where it is longest.",
    ),
    "numbers": (
        ("largest number", "median number"),
        "The largest number of the stream in any layer, and the median size of the layer in which one stands out most.",
    ),
}
"""Picture -> the lines it has, and what they are."""


def history_figure(frame: "pd.DataFrame", picture: str, place: int) -> "go.Figure":
    """The lines of a picture over the steps, the chosen step marked; attention from 0 to 1, others by factors."""
    from workbench import plots

    tidy = frame.melt("step", LINES[picture][0], "line", "value")
    figure = plots.lines(tidy, x="step", y="value", color="line")
    figure.add_vline(x=frame["step"].iloc[place], line={"color": "#7a8190", "width": 2, "dash": "dot"})
    figure.update_yaxes(
        **({"range": [0, 1], "title": "share"} if picture == "mass" else {"type": "log", "title": None})
    )
    legend = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "title": None}
    return figure.update_layout(height=420, legend=legend, margin={"t": 12})


def step_said(row: Mapping[str, Any]) -> str:
    """One step in a sentence."""
    massive = int(row["massive numbers"])
    many = f"{massive or 'no'} massive number{'s' * (massive != 1)}"
    return (
        f"At step {row['step']:,} {row['share of sink heads']:.0%} of the heads give token {row['position']}, "
        f"{row['token']!r}, more than 0.3 of their attention, {row['largest mass']:.2f} at most; {many}"
    )
