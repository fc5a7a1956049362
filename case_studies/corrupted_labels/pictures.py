"""The pictures of the study."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench import plots

Table = Any
GROUPS = ("corrupted", "uncorrupted", "train", "test")
BINS = 20


def pruning_figure(rows: Table) -> go.Figure:
    """A panel for each order; the accuracy of each group by the share of neurons that are gone."""
    tidy = rows.melt(["order", "pruned"], list(GROUPS), "pairs", "accuracy")
    figure = plots.small_multiples(
        tidy,
        panel="order",
        x="pruned",
        y="accuracy",
        color="pairs",
        marks=dict.fromkeys(GROUPS, "line"),
        limits=(-0.02, 1.02),
    )
    figure.update_traces(marker={"size": 4})
    return figure.update_layout(height=320, margin={"t": 30})


def ipr_figure(neurons: Table) -> go.Figure:
    """A panel for each weight decay; the share of its neurons at each IPR, dead ones in no bar."""
    place = (neurons["IPR"] * BINS).clip(0, BINS - 1).astype(int)
    starts = [f"{number / BINS:.2f}" for number in range(BINS)]
    counted = neurons.assign(IPR=[starts[i] for i in place]).groupby(["network", "IPR"], sort=False).size()
    grid = pd.MultiIndex.from_product([neurons["network"].unique(), starts])
    tidy = counted.reindex(grid, fill_value=0).rename_axis(["network", "IPR"]).reset_index(name="neurons")
    figure = plots.small_multiples(
        tidy.assign(all="neurons"), panel="network", x="IPR", y="neurons", color="all", marks={"neurons": "bar"}
    )
    return figure.update_layout(height=300, showlegend=False, bargap=0.05, margin={"t": 30})


def ends_figure(ends: Table) -> go.Figure:
    """The accuracy of each group at the end of training, by weight decay."""
    tidy = ends.melt(["network"], list(GROUPS), "pairs", "accuracy")
    figure = plots.bars(tidy, x="network", y="accuracy", color="pairs")
    names = [f"{row['network']}<br>weight decay {row['weight decay']:g}" for row in ends.to_dict("records")]
    figure.update_xaxes(ticktext=names, title="")
    return figure.update_layout(height=320, margin={"t": 20})
