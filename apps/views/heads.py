"""Heads by their scores: a map in colours, what a score is for one head beside chance, and scores over training."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from apps.views.component import component
from apps.views.grid import Layout, shown
from apps.views.qk_weights import Scale, two_sided
from apps.views.sprite import css, scale
from workbench import plots
from workbench.analyses.heads.head_scores_result import CLASSES

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.analyses.heads.head_scores_result import HeadScores

NAMES = {
    "prefix_matching_all": "prefix matching, all copies",
    "prefix_matching": "prefix matching, last copy",
    "previous_token": "previous token",
    "duplicate_token": "duplicate token",
    "self_token": "own token",
    "first_token": "first token",
    "entropy": "entropy",
    "eigenvalues": "copying: eigenvalue ratio",
    "copying": "copying: share of what is raised",
    "most_copied": "copying: raised most",
    "loss_without": "loss without it",
}
"""The scores in the order in which the page offers them."""
SIGNED = ("eigenvalues", "copying", "loss_without")
FADED = {False: (232, 235, 239), True: (45, 52, 60)}
"""A head that is not of the class that is shown, on a light and on a dark page."""
_LEVELS = 64


def scale_of(found: "HeadScores", score: str, *, dark: bool) -> Scale:
    """From 0 to 1 for shares, two-sided for what may be below 0, from least to most for others."""
    import numpy as np

    values = found.score(score).numpy()
    known = values[np.isfinite(values)]
    most = float(np.abs(known).max(initial=0)) or 1.0
    if score in SIGNED:
        most = 1.0 if score != "loss_without" else most
        return Scale(low=-most, high=most, palette=two_sided(dark=dark))
    return Scale(low=0.0, high=most if score == "entropy" else 1.0, palette=tuple(scale(_LEVELS, dark=dark)))


def score_map(
    found: "HeadScores",
    score: str,
    layout: Layout,
    colours: Scale,
    *,
    within: Sequence[bool],
    locked: str,
    dark: bool,
    key: str,
    on_click: Callable[[], None],
) -> Any:
    """Draw every head in the colour of its score, those not `within` faded. A click leaves "LAYER.HEAD"."""
    heads = found.scores.shape[1]
    flat = found.score(score).flatten().tolist()
    tiles = [
        {
            "id": f"{i // heads}.{i % heads}",
            "text": f"{i // heads}.{i % heads}",
            "title": f"layer {i // heads}, head {i % heads}" + ("" if within[i] else ", not of the class"),
            "at": [i % heads, i // heads],
            "colour": css(colours.colour(flat[i]) if within[i] else FADED[dark]),
            "under": "",
        }
        for i in layout.order
    ]
    data = {
        "sprite": None,
        "tiles": tiles,
        "columns": layout.columns,
        "rows": [{"text": text} for text in layout.rows] or None,
        "heads": list(layout.heads),
        "names": list(layout.names),
        "locked": locked,
        "chosen": [],
        "scores": {
            label: shown(found.score(name).numpy(), layout.order)
            for name, label in NAMES.items()
            if name in found.score_names
        },
    }
    return component("head_grid")(key=key, data=data, on_click_change=on_click)


def numbers(found: "HeadScores", layer: int, head: int) -> str:
    """The scores of one head beside chance, as a table for the page."""
    rows = ["<tr><th></th><th>head</th><th>chance</th></tr>"]
    for name, label in NAMES.items():
        if name not in found.score_names:
            continue
        at = found.score_names.index(name)
        pair = (float(found.scores[layer, head, at]), float(found.chance[at]))
        cells = "".join(f"<td>{'–' if value != value else f'{value:.3g}'}</td>" for value in pair)
        rows.append(f"<tr><td>{escape(label)}</td>{cells}</tr>")
    return f'<table class="wb-numbers">{"".join(rows)}</table>'


def table(found: "HeadScores", thresholds: Mapping[str, float]) -> "pd.DataFrame":
    """One row a head: its classes and its scores, in the order of the page."""
    frame: Any = found.heads_frame(thresholds)
    heads = [f"{layer}.{head}" for layer, head in zip(frame["layer"], frame["head"], strict=True)]
    kept = [name for name in NAMES if name in found.score_names]
    return frame[["classes", *kept]].assign(head=heads)[["head", "classes", *kept]]


def losses_figure(found: "HeadScores") -> "go.Figure":
    """The loss at each position, with a line where each copy begins."""
    losses: Any = found.losses_frame().dropna()
    figure = plots.lines(losses[["pos", "loss"]], x="pos", y="loss")
    for start in range(found.before + found.period, len(found.losses), found.period):
        figure.add_vline(x=start, line_dash="dot", line_width=1, line_color="#808696")
    figure.update_layout(height=260, margin={"t": 10, "b": 45, "l": 50, "r": 10})
    figure.update_xaxes(title="position")
    return figure.update_yaxes(title="loss (nats)", rangemode="tozero")


def best_over(steps: Sequence[int], each: "Sequence[HeadScores]") -> "pd.DataFrame":
    """The best head of each class's score at each step, and the in-context score: a row a step and line."""
    import pandas as pd

    rows = []
    for step, found in zip(steps, each, strict=True):
        for name, score in CLASSES.items():
            value = float(found.score(score).nan_to_num(-2).max())
            rows.append({"step": step, "best head": name, "score": value if value > -2 else float("nan")})
    return pd.DataFrame(rows).dropna(ignore_index=True)


def losses_over(steps: Sequence[int], each: "Sequence[HeadScores]") -> "pd.DataFrame":
    """The mean loss on the first and on the last copy at each step."""
    import pandas as pd

    rows = []
    for step, found in zip(steps, each, strict=True):
        first = found.losses[found.before + 1 : found.before + found.period].mean().item()
        rows += [
            {"step": step, "copy": "first copy", "loss": first},
            {"step": step, "copy": "last copy", "loss": first + found.in_context_score},
        ]
    return pd.DataFrame(rows).dropna(ignore_index=True)


def over_figure(frame: "pd.DataFrame", y: str, color: str, step: int) -> "go.Figure":
    """Lines over the steps of training, the chosen one marked."""
    figure = plots.lines(frame, x="step", y=y, color=color)
    figure.add_vline(x=step, line_dash="dot", line_width=1, line_color="#808696")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None, "font": {"size": 12}}
    return figure.update_layout(height=320, margin={"t": 60, "b": 45, "l": 50, "r": 10}, legend=legend)
