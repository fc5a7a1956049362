"""The size of the circuit: a slider, what a circuit of that size carries in words, and the curve of all sizes."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import state
from apps.screens.circuit_measure import known, measure
from apps.screens.circuit_shown import Shown, carried_at, measured
from apps.subject import Subject
from apps.text import plain
from apps.views.circuit_curve import curve_figure
from apps.views.circuit_words import carried, number, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.circuits.graph_data import CircuitGraph


def sized(seen: Subject, one: Shown, params: dict[str, Any] | None) -> "tuple[int, CircuitGraph]":
    """The size that the reader has chosen, the circuit of it, and what it carries, in words.

    `params` are those of the run; None of a file, whose circuits are not run.
    """
    headline = st.container()
    if one.fixed:
        size, graph = one.graph.n_kept, one.graph
    else:
        first = one.first_size()
        asked = state.fitting("size", first, state.whole(1, one.n_edges))
        size = state.linked(
            st.select_slider,
            "Edges",
            "size",
            first,
            read=state.whole(1, one.n_edges),
            options=one.sizes(first, asked),
            format_func=lambda n: f"{n:,}",
            help="How many edges are asked for. Those that lie on no path from the input to the logits are then left "
            "out. No model is run.",
        )
        graph = one.at(size)
    share, between, chance = carried_at(one, size)
    if share is None and params is not None:
        share = known(seen, params, size)
    headline.markdown(f"#### {plain(carried(graph.n_kept, one.n_edges, share, between=between))}")
    said = []
    if not one.fixed and graph.n_kept < size:
        said.append(f"{size:,} asked for; {size - graph.n_kept:,} lie on no path from the input to the logits.")
    if chance is not None:
        said.append(f"Random circuits of this size carry {percent(chance)}.")
    elif between is not None and share is None:
        near = min(measured(one).sizes, key=lambda n: abs(n - size))
        said.append(f"Not measured at this size; the nearest that is: {near:,}.")
    if one.found is not None:
        clean, corrupted = number(one.found.clean), number(one.found.corrupted)
        said.append(f"The whole is {clean} {one.unit} on clean prompts against {corrupted} on corrupted ones.")
    if said:
        headline.caption(plain(" ".join(said)))
    if share is None and params is not None:
        measure(seen, params, size, graph)
    return size, graph


def figure_of(one: Shown, at: int | None, title: str = "") -> "go.Figure":
    """The curve of a result, with the chosen size marked."""
    known = measured(one)
    return curve_figure(
        known.sizes,
        known.kept,
        known.faithfulness,
        known.random.numpy(),
        n_edges=one.n_edges,
        at=at,
        title=title,
    )


def curve(one: Shown, size: int) -> None:
    """The faithfulness of all sizes, and the two numbers that sum it up."""
    found = one.found
    if found is None:
        st.caption("A graph has no faithfulness curve: that is in the saved result.")
        return
    st.plotly_chart(
        figure_of(one, size), theme="streamlit", key="circuit curve", on_select=_picked(one), selection_mode="points"
    )
    left, right = st.columns(2)
    left.metric(
        "CPR",
        _two(found.cpr),
        help=plain(f"Mean faithfulness over sizes; higher is better. Random circuits: {_two(found.cpr_random)}."),
    )
    right.metric(
        "CMD",
        _two(found.cmd),
        help=plain(f"Mean distance from 1 over sizes; lower is better. Random circuits: {_two(found.cmd_random)}."),
    )
    st.caption(
        plain(
            f"Random circuits: CPR {_two(found.cpr_random)}, CMD {_two(found.cmd_random)}. "
            f"{found.n_examples:,} pairs of prompts; the model is right on {percent(found.accuracy)}."
        )
    )
    if found.without_gap:
        st.caption(
            f"On {found.without_gap:,} pairs the metric is no higher for the clean prompt; they count all the same."
        )
    for note in found.notes:
        st.caption(f":material/info: {plain(note)}")


def _two(area: float) -> str:
    return "undefined" if area != area else f"{area:.2f}".replace("-", "−")


def _picked(one: Shown) -> Any:
    """A click on a point of the curve takes the slider there."""

    def picked() -> None:
        points = st.session_state["circuit curve"].selection.points
        sizes = measured(one).sizes
        if points and 0 <= (at := points[0].get("point_index", -1)) < len(sizes):
            state.put(size=str(sizes[at]))

    return picked
