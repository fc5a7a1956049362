"""The pictures and sentences of the Collapse page, out of the results of its two analyses."""

import math
from typing import TYPE_CHECKING, Any

from workbench import plots
from workbench.analyses.collapse.rank_collapse_result import ROUNDING, curves_figure, run_name
from workbench.analyses.collapse.variants import ATTENTIONS, MEASURES

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.analyses.collapse.path_result import PathDecomposition
    from workbench.analyses.collapse.rank_collapse_result import RankCollapse

ASKED = {"recomputed": ("recomputed",), "frozen": ("frozen",), "both": ATTENTIONS}
"""How attention can be asked for -> the runs that are drawn."""
COLOURS = {"full": "#5b8fbf", "no skip": "#d9822b", "no MLP": "#4c9f70", "attention alone": "#c23b4b"}
_FEW_BLOCKS = 13
_NEAR = 1e4  # times rounding: curves that stay above are drawn without it
_FEWEST = 0.002  # of the sizes of all lengths: longer paths that add less are not drawn


def curves(found: "RankCollapse", measure: str, asked: str) -> "go.Figure":
    """One measure against depth, each variant in its colour; frozen attention dashed where both are drawn."""
    figure = curves_figure(found, measure, ASKED[asked]).update_layout(title=None)
    labels = {
        run_name(variant, attention) if asked == "both" else variant: (variant, attention)
        for variant in found.variants
        for attention in ASKED[asked]
    }
    traces: Any = figure.data
    for trace in traces:
        if trace.name in labels:
            variant, attention = labels[trace.name]
            held = asked == "both" and attention == "frozen" and variant != "full"
            trace.update(
                line={"color": COLOURS[variant], "dash": "dash" if held else "solid"},
                marker={"color": COLOURS[variant], "size": 5},
            )
    if measure == MEASURES[0]:
        _cut(figure)
    if found.values.shape[-1] <= _FEW_BLOCKS:
        figure.update_xaxes(dtick=1)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": {"text": ""}}
    return figure.update_layout(height=430, legend=legend, margin={"l": 60, "r": 10, "t": 70, "b": 45})


def _cut(figure: "go.Figure") -> None:
    """Show what the curves reach: rounding is drawn where one comes near it, and else is far below the picture."""
    traces: Any = figure.data
    least = min(value for trace in traces for value in trace.y if trace.name != ROUNDING)
    floor = min(value for trace in traces for value in trace.y if trace.name == ROUNDING)
    near = least < _NEAR * floor
    figure.update_traces(selector={"name": ROUNDING}, showlegend=near)
    figure.update_yaxes(range=[math.log10(min(least, floor) / 3 if near else least / 3), 0.15])


def headline(found: "RankCollapse", measure: str, asked: str) -> str:
    """How alike all positions are after the last block, in the full network and from attention alone."""
    attention = "frozen" if asked == "frozen" else "recomputed"
    full, alone = (float(found.curve(name, attention, measure)[0, -1]) for name in ("full", "attention alone"))
    blocks = found.values.shape[-1] - 1
    run = found.variants.index("attention alone") + (attention == "frozen")
    floor = float(found.floor[0, run, -1])
    lost = measure == "relative residual" and alone <= floor
    said = f"no more than rounding ({floor:.0e})" if lost else f"{alone:.2g}"
    counted = f"{blocks} blocks" if blocks > 1 else "1 block"
    return f"After {counted} the {measure} is {full:.2g} in the full network and {said} from attention alone."


def shown_lengths(found: "PathDecomposition") -> int:
    """How many lengths are drawn: up to the last that adds something one could see."""
    sizes = found.contributions.abs().sum(0)
    seen = (sizes > _FEWEST * sizes.sum()).nonzero().flatten().tolist()
    return max([2, *seen]) + 1 if len(sizes) > 2 else len(sizes)


def lengths(found: "PathDecomposition") -> "go.Figure":
    """What paths of each length add, a bar for each kind of source; lengths that add nothing to see are left out."""
    frame = found.lengths_frame()
    drawn = frame.loc[frame["length"] < shown_lengths(found)]
    figure = plots.bars(drawn, x="length", y="value", color="from")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": {"text": ""}}
    figure.update_xaxes(title="heads passed").update_yaxes(title=None)
    return figure.update_layout(height=430, legend=legend, margin={"l": 45, "r": 10, "t": 70, "b": 45})


def lengths_said(found: "PathDecomposition") -> str:
    """What is split up, and how exactly; what the picture leaves out."""
    last = shown_lengths(found) - 1
    rest = float(found.contributions[:, last + 1 :].sum())
    more = f" Longer paths together add {rest:.1e} and are not drawn." if last < found.n_layers else ""
    return f"{found.explained}: {found.score:.4g}. The sum over all paths lacks {abs(found.rounding):.0e} of it.{more}"


def paths_table(found: "PathDecomposition", most: int = 12) -> "pd.DataFrame":
    """The largest of the single paths that were followed."""
    return found.paths_frame().drop_duplicates("path").head(most).reset_index(drop=True)


CHOICES = tuple(measure for measure in MEASURES if measure != "residual")
"""Measures that the page offers: those that can be compared across depths."""
