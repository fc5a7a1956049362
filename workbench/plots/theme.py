"""The house style of a figure: legible on a light and on a dark page, applied to one figure and never globally."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK = "#7a8190"
"""Text and ticks: contrast 3.9 on white and 4.8 on #0e1117."""
GRID = "rgba(128, 134, 150, 0.22)"
SEQUENTIAL = "Viridis"
DIVERGING = "RdBu"
BLUES = ((255, 255, 255), (206, 222, 238), (107, 160, 205), (27, 81, 135), (6, 26, 54))
"""From no attention to all of it, on white: one hue, so that lightness alone carries the value."""
CYCLE = ("#4c78a8", "#f58518", "#3aa58f", "#e45756", "#a678de", "#b88d3b", "#d67195", "#7f8794")
"""Colours of series, in order; each differs in lightness from its neighbours."""


def styled(figure: "go.Figure", **layout: Any) -> "go.Figure":
    """`figure` with the house template; `layout` goes to `update_layout`."""
    import plotly.graph_objects as go

    axis = {"gridcolor": GRID, "linecolor": GRID, "zerolinecolor": GRID, "automargin": True, "ticks": ""}
    template = go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": INK},
            "title": {"font": {"size": 16}, "x": 0, "xanchor": "left", "xref": "paper"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": CYCLE,
            "margin": {"l": 56, "r": 24, "t": 48, "b": 48},
            "hoverlabel": {"font": {"family": FONT, "size": 13}, "align": "left"},
            "xaxis": axis,
            "yaxis": axis,
        }
    )
    return figure.update_layout(template=template, **layout)
