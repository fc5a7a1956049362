"""The graph of tokens, layer over layer: what reaches a clicked node, as widths of the edges that lead down from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.text import short, visible
from apps.views.component import component
from apps.views.flow_edges import Edges

if TYPE_CHECKING:
    import numpy as np

THIN = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Edges thinner than one of these may be left out."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The nodes that are drawn, and what stands beside them."""

    tokens: Sequence[str]
    """One a node, those outside the window too."""
    sides: Sequence[str]
    steps: Sequence[str]
    """Names of the levels above the input."""
    first: int
    last: int


def flow_graph(
    window: Window,
    edges: Edges,
    numbers: "np.ndarray",
    *,
    shares: bool,
    target: tuple[int, int],
    source: int | None,
    thin: float,
    what: str,
    key: str,
    on_click: Callable[[], None],
    on_thin: Callable[[], None],
) -> Any:
    """Draw the graph below `target` (level, node), `numbers` (node,) under the tokens, with their `shares` if asked.

    A click leaves "LEVEL.NODE" in `st.session_state[key].click`, level 0 being the input; the slider leaves the
    thinnest edge that is drawn in `.thin`.
    """
    data = graph_data(window, edges, numbers, shares=shares)
    data |= {"target": list(target), "source": source, "thin": THIN.index(thin), "scale": list(THIN), "what": what}
    return component("flow_graph")(key=key, data=data, on_click_change=on_click, on_thin_change=on_thin)


def graph_data(window: Window, edges: Edges, numbers: "np.ndarray", *, shares: bool) -> dict[str, Any]:
    """Nodes, edges and numbers as the browser reads them, positions counted in the whole prompt."""
    shown = slice(window.first, window.last)
    total = float(numbers.sum())
    columns = zip(edges.step.tolist(), edges.query.tolist(), edges.key.tolist(), edges.value.tolist(), strict=True)
    return {
        "tokens": [{"text": short(visible(t), 12), "whole": visible(t)} for t in window.tokens[shown]],
        "breaks": [i for i in range(window.first + 1, window.last) if window.sides[i] != window.sides[i - 1]],
        "first": window.first,
        "levels": ["input", *window.steps],
        "edges": [[step, query, key, float(f"{value:.4g}")] for step, query, key, value in columns],
        "numbers": [float(f"{value:.4g}") for value in numbers[shown].tolist()],
        "shares": [float(f"{v / total:.4g}") for v in numbers[shown].tolist()] if shares and total > 0 else None,
    }
