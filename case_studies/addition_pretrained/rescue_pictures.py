"""Pictures of who learns to add, of what filters do to the answers, and of the spectra of a pretrained model."""

from typing import Any

import plotly.graph_objects as go

from workbench import plots

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""
PARTS = {"attn_out": "attention", "mlp_out": "MLP", "both": "both"}


def learning_figure(history: Table) -> go.Figure:
    """Accuracy on held-out pairs against steps, a line for each kind of number embedding (mean over seeds)."""
    mean = history.groupby(["arm", "step"], as_index=False, sort=False)["test"].mean()
    mean = mean.rename(columns={"test": "held-out sums right", "arm": "number embeddings"})
    figure = plots.lines(mean, x="step", y="held-out sums right", color="number embeddings")
    return figure.update_layout(height=360, margin={"t": 20, "b": 60})


def filter_figure(filters: Table) -> go.Figure:
    """Accuracy without the low or the high waves, by what was filtered, beside random filters of equal rank."""
    there = filters[(filters["filter"] != "none") & (filters["arm"] == "waves")]
    mean = there.groupby(["part", "band", "filter"], as_index=False, sort=False)["accuracy"].mean()
    mean = mean.assign(part=[PARTS[part] for part in mean["part"]], band=[f"no {band}" for band in mean["band"]])
    mean["filter"] = [{"filter": "these waves"}.get(name, name) for name in mean["filter"]]
    names = [*mean["filter"].unique()]
    figure = plots.small_multiples(
        mean, panel="part", x="band", y="accuracy", color="filter", marks=dict.fromkeys(names, "bar"), limits=(0, 1.04)
    )
    return figure.update_xaxes(title="").update_layout(height=320, margin={"t": 40, "b": 50})


def error_figure(errors: Table) -> go.Figure:
    """How far off the answers are without low and without high waves in the MLP, seed 0."""
    sizes = range(int(errors["error"].min()), int(errors["error"].max()) + 1)
    figure = go.Figure()
    for band, rows in errors.groupby("band", sort=False):
        counts = dict(zip(rows["error"], rows["answers"], strict=True))
        figure.add_bar(x=list(sizes), y=[counts.get(size, 0) for size in sizes], name=str(band))
    figure.update_xaxes(title="answer minus right sum", dtick=10).update_yaxes(title="answers")
    return figure.update_layout(template="plotly_white", barmode="overlay", height=320, margin={"t": 20, "b": 60})


def spectrum_figure(spectra: Table) -> go.Figure:
    """The strongest frequency in the pretrained embedding beside what random orders reach, with and without a line."""
    rows = spectra[spectra["part"] == "embed"]
    tidy = rows.melt(["variable", "detrended"], ["share", "null"], "what", "share of the variance")
    tidy["what"] = [{"share": "strongest frequency", "null": "random orders"}[name] for name in tidy["what"]]
    tidy["detrended"] = ["straight line taken off" if off else "as it is" for off in tidy["detrended"]]
    figure = plots.small_multiples(
        tidy,
        panel="detrended",
        x="variable",
        y="share of the variance",
        color="what",
        marks={"strongest frequency": "bar", "random orders": "points"},
        limits=(0, 0.6),
    )
    return figure.update_xaxes(title="").update_layout(height=320, margin={"t": 40, "b": 50})
