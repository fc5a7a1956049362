"""The route of one prediction: tokens along x, layers along y, edges as wide as what they contribute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.text import short, visible
from apps.views.component import component

if TYPE_CHECKING:
    from apps.views.routes_parts import Drawn

MOST = 3000
"""Edges that a browser is sent: those that the highest thresholds keep, so that what is drawn hangs together."""
_HEADS = 3  # of an edge, named where it is hovered
_PARTS = ("place", "marks", "words", "hover")


@dataclass(frozen=True, kw_only=True)
class View:
    """What is asked of the picture."""

    threshold: float
    divided: bool
    """Whether shares are divided to sum to one over what is kept."""
    few: bool
    """Whether only tokens on the route have a column."""
    selected: str = ""
    """What is explained beside it: a letter (state, after attention, MLP, edge) and its numbers, as "e3.5.1"."""
    answer: str = ""
    """What the model answers at the traced position."""


def routes_graph(
    route: "Drawn",
    tokens: Sequence[str],
    n_layers: int,
    view: View,
    *,
    of: str,
    key: str,
    on_click: Callable[[], None],
    on_threshold: Callable[[], None],
) -> Any:
    """Draw the route; `of` names the prompt and the model, for another one begins unzoomed.

    A click leaves what is now explained in `st.session_state[key].click` ("tPOSITION" asks to trace that position's
    prediction), the slider a threshold in `.threshold`.
    """
    data = graph_data(route, tokens, n_layers, view) | {"of": of}
    return component("routes_graph", *_PARTS)(
        key=key, data=data, on_click_change=on_click, on_threshold_change=on_threshold
    )


def graph_data(route: "Drawn", tokens: Sequence[str], n_layers: int, view: View) -> dict[str, Any]:
    """Edges as the browser reads them: kind, layer, query, key, how many thresholds keep it, shares, largest heads."""
    return {
        "tokens": [{"text": short(visible(t), 12), "whole": visible(t)} for t in tokens],
        "layers": n_layers,
        "edges": [_edge(route, i) for i in range(min(MOST, len(route.held)))],
        "thresholds": list(route.thresholds),
        "counts": route.counts,
        "at": route.thresholds.index(view.threshold),
        "target": route.target,
        "one": route.one_sum,
        "selected": view.selected,
        "divided": view.divided,
        "few": view.few,
        "answer": view.answer,
    }


def _edge(route: "Drawn", i: int) -> list[Any]:
    stays = int(route.stays[i])
    shares = [_rounded(value) for value in route.shares[i, :stays].tolist()]
    layer, query, key = place = int(route.layer[i]), int(route.query[i]), int(route.key[i])
    heads = [[head, _rounded(value)] for head, value in route.heads.get(place, ())[:_HEADS]]
    kind = int(route.kind[i])
    entry = [kind, layer, query, key, stays, shares[0] if len(set(shares)) == 1 else shares]
    return entry if kind else [*entry, heads]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
