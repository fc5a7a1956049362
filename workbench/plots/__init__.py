"""Pictures of tidy frames: frames and column names in, plotly figures out. No torch, no model, no global style."""

from workbench.plots.bars import bars as bars
from workbench.plots.export import write_figure as write_figure
from workbench.plots.head_grid import head_grid as head_grid
from workbench.plots.heatmap import heatmap as heatmap
from workbench.plots.joint_scatter import joint_scatter as joint_scatter
from workbench.plots.lines import lines as lines
from workbench.plots.points import scatter as scatter
from workbench.plots.route_graph import route_graph as route_graph
from workbench.plots.small_multiples import small_multiples as small_multiples
from workbench.plots.text import plain as plain, sentence as sentence

__all__ = [
    "bars",
    "head_grid",
    "heatmap",
    "joint_scatter",
    "lines",
    "plain",
    "route_graph",
    "scatter",
    "sentence",
    "small_multiples",
    "write_figure",
]
