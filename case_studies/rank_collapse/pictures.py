"""The figures of the study, out of its tables."""

from typing import Any

import plotly.graph_objects as go

from workbench import plots

Table = Any
LOWEST = 1e-17
SHOWN = (
    "full",
    "full, norm before",
    "attention and skip",
    "attention alone",
    "attention and MLP",
    "attention alone, norm before",
    "attention alone, norm after",
    "attention alone, causal",
)


def kinds_figure(kinds: Table) -> go.Figure:
    """Residuals of random networks by depth, median over seeds."""
    return _decay(kinds[kinds["network"].isin(SHOWN)], "network", SHOWN)


def sharpness_figure(sharper: Table) -> go.Figure:
    """Attention alone with its logits multiplied, median over seeds."""
    named = sharper.assign(**{"logits times": [f"{value:g}" for value in sharper["sharpness"]]})
    return _decay(named, "logits times", tuple(dict.fromkeys(named["logits times"])))


def paths_figure(paths: Table) -> go.Figure:
    """What comes along paths of each length in random networks, median over seeds."""
    middle = paths.groupby("length", as_index=False)[["share", "residual"]].median()
    tidy = middle.melt("length", ["share", "residual"], "of paths of a length", "value")
    names = {"share": "share of what tells positions apart", "residual": "relative residual"}
    tidy["of paths of a length"] = tidy["of paths of a length"].map(names)
    figure = plots.lines(tidy, x="length", y="value", color="of paths of a length")
    return _laid(figure.update_xaxes(title="heads passed").update_yaxes(title=""))


def trained_figures(trained: Table, lengths: Table) -> dict[str, go.Figure]:
    """Each model's residuals by depth with and without its parts, and its logit by length of paths."""
    found = {}
    for name in dict.fromkeys(lengths["model"]):
        rows = trained[(trained["model"] == name) & (trained["measure"] == "relative residual")]
        named = rows.rename(columns={"value": "residual"})
        found[f"{NAMES[name]}: residual"] = _decay(named, "run", tuple(dict.fromkeys(rows["run"])))
        one = lengths[(lengths["model"] == name) & (lengths["text"] == 0) & (lengths["length"] <= 12)]
        figure = plots.bars(one, x="length", y="value", color="from").update_yaxes(title="logit")
        found[f"{NAMES[name]}: paths"] = _laid(figure.update_xaxes(title="heads passed"))
    return found


NAMES = {"micro": "Micro", "digits": "Multiplication", "real": "SmolLM2 135M"}


def _decay(rows: Table, by: str, order: tuple[str, ...]) -> go.Figure:
    middle = rows.groupby([by, "depth"], as_index=False, sort=False)[["residual"]].median()
    middle["residual"] = middle["residual"].clip(lower=LOWEST)
    middle["order"] = middle[by].map(order.index)
    figure = plots.lines(middle.sort_values(["order", "depth"]), x="depth", y="residual", color=by)
    figure.update_yaxes(type="log", exponentformat="power", title="relative residual")
    return _laid(figure.update_xaxes(title="layers passed"))


def _laid(figure: go.Figure) -> go.Figure:
    legend = {"orientation": "h", "y": -0.25, "title": {"text": ""}}
    return figure.update_layout(height=420, width=700, margin={"t": 15, "b": 60, "r": 15}, legend=legend)
