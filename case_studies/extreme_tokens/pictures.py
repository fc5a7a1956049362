"""The figures of the study, out of its tables and models."""

from typing import Any

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

import workbench
from case_studies.extreme_tokens import models
from case_studies.extreme_tokens.chain import WORDS
from case_studies.extreme_tokens.measure import Ids
from workbench import plots

Table = Any
SHOWN = {"untrained": "untrained", "adam": "trained", "ruleless": "without the rule", "relu": "ReLU attention"}
LINES = {"adam": "AdamW", "sgd": "SGD", "relu": "ReLU attention", "ruleless": "without the rule"}
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd")
PANELS = {
    "loss.trigger": "loss after triggers (nats)",
    "sink.0": "attention to the start, other symbols",
    "value.0": "start's value over the others'",
    "gap.0": "start's score above the others'",
}
DONE = {
    "silenced": "head silenced",
    "others_to_start": "others look at the start",
    "triggers_to_start": "triggers look at the start",
    "others_to_previous": "others look one back",
    "others_evenly": "others look evenly",
}


def attention_figure(ids: Ids) -> go.Figure:
    """Where the head of each kind of model looks, on one sequence; triggers are marked by their signs."""
    words = [plots.plain(WORDS[number]) for number in ids[0].tolist()]
    figure = make_subplots(
        rows=2, cols=2, subplot_titles=list(SHOWN.values()), horizontal_spacing=0.08, vertical_spacing=0.12
    )
    for place, setting in enumerate(SHOWN):
        model = models.untrained("adam", 0) if setting == "untrained" else models.committed(setting, 0)
        site = model.attention_sites(None, "pattern")[0]
        with torch.no_grad(), workbench.reading(model, [site]) as read:
            model.module(ids)
        row, column = place // 2 + 1, place % 2 + 1
        figure.add_heatmap(z=read[site][0, 0].tolist(), zmin=0, zmax=1, colorscale="Blues", showscale=place == 0,
                           row=row, col=column)  # fmt: skip
        every = list(range(len(words)))
        figure.update_xaxes(tickvals=every, ticktext=words, tickfont_size=9, tickangle=0, row=row, col=column)
        figure.update_yaxes(tickvals=every, ticktext=words, tickfont_size=9, autorange="reversed", row=row, col=column)
    return figure.update_layout(height=760, width=760, template="plotly_white", margin={"t": 40, "b": 40, "l": 40})


def training_figure(history: Table) -> go.Figure:
    """Loss after triggers, and sink, value and score of the start, over the logarithm of the step; seed 0."""
    figure = make_subplots(rows=2, cols=2, subplot_titles=list(PANELS.values()), vertical_spacing=0.16)
    for colour, (setting, label) in zip(COLOURS, LINES.items(), strict=True):
        rows: Any = history[(history["setting"] == setting) & (history["seed"] == 0) & (history["step"] > 0)]
        for place, name in enumerate(PANELS):
            figure.add_scatter(
                x=rows["step"].tolist(), y=rows[name].tolist(), mode="lines+markers", name=label, legendgroup=label,
                showlegend=place == 0, marker_size=4, line_color=colour, row=place // 2 + 1, col=place % 2 + 1,
            )  # fmt: skip
    figure.update_xaxes(type="log", dtick=1, title="step", row=2)
    figure.update_xaxes(type="log", dtick=1, row=1)
    legend = {"orientation": "h", "y": -0.16}
    return figure.update_layout(height=560, width=760, template="plotly_white", margin={"t": 40}, legend=legend)


def loss_figure(losses: Table) -> go.Figure:
    """What each intervention adds to the loss of the models of one layer, after triggers and after other symbols."""
    rows: Any = losses[losses["setting"] == "adam"]
    means = rows.groupby("kind")[list(DONE)].mean()
    figure = go.Figure()
    for kind, label in (("trigger", "after triggers"), ("other", "after other symbols")):
        figure.add_bar(x=list(DONE.values()), y=[float(means[done][kind]) for done in DONE], name=label)
    return _bars(figure, "nats a token more")


def massive_figure(curve: Table) -> go.Figure:
    """The three largest numbers of the stream and the median after each layer, mean over texts."""
    figure: Any = plots.lines(curve, x="layer", y="size", color="number")
    return figure.update_yaxes(type="log").update_layout(height=360, width=760, margin={"t": 20})


def changed_figure(changes: Table) -> go.Figure:
    """What the loss of the real model rises by when numbers of its stream are changed, mean of the draws."""
    rows: Any = changes[changes["condition"] != "unaltered"]
    means = rows.groupby("condition", sort=False)["rise"].mean()
    return _bars(go.Figure().add_bar(x=list(means.index), y=means.tolist()), "nats a token more")


def _bars(figure: go.Figure, says: str) -> go.Figure:
    legend = {"orientation": "h", "y": 1.15}
    figure.update_yaxes(title=says)
    return figure.update_layout(height=360, width=760, template="plotly_white", margin={"t": 30}, legend=legend)
