"""Circuit: which edges of a model do a task; a slider over sizes redraws the circuit without running the model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state, views
from apps.exports import file_name
from apps.running import sentences
from apps.screens import circuit_asked, circuit_files, circuit_names
from apps.screens.circuit_beside import beside
from apps.screens.circuit_compare import OPENED, compare, said, second
from apps.screens.circuit_edges import edges, examples
from apps.screens.circuit_history import history
from apps.screens.circuit_names import Names
from apps.screens.circuit_shown import Shown, of_comparison, of_graph, of_result
from apps.screens.circuit_sized import curve, sized
from apps.subject import Subject, of_many
from apps.text import plain
from apps.views.circuit_compared import cross_figure
from apps.views.circuit_graph import MOST, Look, circuit_graph, drawn
from apps.views.circuit_union import union_of

if TYPE_CHECKING:
    from workbench.analyses.circuits.circuit_comparison import CircuitComparison
    from workbench.circuits.graph_data import CircuitGraph

CAVEAT = (
    "What this method finds on these prompts. Faithfulness is measured: the model runs with all other edges replaced."
)
OPTIONS = circuit_asked.OPTIONS | circuit_names.OPTIONS | {"size", "apart", "below", "find", "against", "step"}
_GRAPH = "circuit graph"
_BELOW = {"edges": "Edges", "compare": "Compare", "examples": "Examples", "save": "Save"}


def page() -> None:
    """Draw the page."""
    st.html(Path(views.__file__).with_name("circuit.css"))
    opened = circuit_files.opened_of(OPENED)
    top = of_many(
        "Circuit",
        "Which edges between heads and MLPs do a task, and how much of it they carry by themselves.",
        lambda one: circuit_asked.settings(one, beside=_open, on_run=_close, again=opened is not None),
        warning=CAVEAT,
        analysis=circuit_asked.ANALYSIS,
    )
    if top is None:
        return
    seen, (params, ran) = top
    if opened is not None:
        _file(seen, params, *opened)
    elif ran:
        found = results.result_of(seen.loaded, circuit_asked.ANALYSIS, **params)
        _view(seen, of_result(found), None, params)
    else:
        circuit_asked.cost(seen.loaded, params)
        st.info("Choose a task above and press Run, or open a saved circuit.", icon=":material/play_arrow:")


def _open() -> None:
    circuit_files.open_button(OPENED, "Open file", "A saved circuit: a result or a graph.")


def _close() -> None:
    if circuit_files.opened_of(OPENED) is not None:
        circuit_files.close(OPENED)


@sentences
def _file(seen: Subject, params: dict[str, Any], name: str, opened: Any) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/draft: **{plain(name)}**")
        st.button("Close the file", icon=":material/close:", on_click=_close)
        about = [str(getattr(opened, name)) for name in ("task", "method", "metric") if hasattr(opened, name)]
        if about:
            st.caption(plain(", ".join(about)))
        st.caption(plain(circuit_files.said_of(opened, seen.model.name)))
    kind = getattr(opened, "kind", "")
    if kind == "circuit-history":
        history(seen, opened)
    elif kind == "circuit":
        opened.graph.check_for(seen.model)
        _view(seen, of_result(opened), None, params)
    elif kind:
        opened.graph.check_for(seen.model)
        _view(seen, *of_comparison(opened), params, opened)
    else:
        opened.check_for(seen.model)
        _view(seen, of_graph(opened, name), None, params)


@st.fragment
@sentences
def _view(
    seen: Subject,
    one: Shown,
    other: Shown | None,
    params: dict[str, Any],
    compared: "CircuitComparison | None" = None,
) -> None:
    names = circuit_names.names_of(one.graph)
    opened = circuit_files.opened_of(OPENED) is not None
    other = other or second(seen, one, params)
    with st.container(key="circuit-sides"):
        narrow, wide = st.columns([1, 2.5], gap="medium")
    with wide:
        size, graph = sized(seen, one, None if opened or compared is not None else params)
        pair = None if other is None else (graph, other.graph if other.fixed else other.at(size))
        if other is not None and pair is not None:
            st.caption(plain(said(one, other, pair)))
        _drawn(seen, one, other, size, pair or (graph,), names)
    with narrow:
        if names.pinned:
            beside(graph, names, one.unit)
        if compared is None:
            curve(one, size)
        else:
            st.plotly_chart(cross_figure(compared), theme="streamlit", key="circuit cross beside")
        if not names.pinned:
            beside(graph, names, one.unit)
    below = state.linked(
        st.segmented_control,
        "Below",
        "below",
        "edges",
        read=state.one_of(_BELOW),
        options=list(_BELOW),
        format_func=lambda name: _BELOW[name],
        required=True,
        label_visibility="collapsed",
    )
    if below == "edges":
        edges(seen, one, size, graph, names, None if opened else params)
    elif below == "compare":
        compare(seen, one, other, pair, params, compared)
    elif below == "examples":
        examples(one)
    else:
        circuit_files.save(seen, one, graph, names)


def _drawn(
    seen: Subject, one: Shown, other: Shown | None, size: int, circuits: "tuple[CircuitGraph, ...]", names: Names
) -> None:
    graph, sides, called = circuits[0], None, ()
    if other is not None:
        graph, sides = union_of(*circuits)
        called = ("in both", f"only {one.title}", f"only {other.title}")
    if not graph.n_kept:
        st.info(
            f"No circuit is left at {size:,} edges: none of them lies on a path from the input to the logits. "
            "Move the slider to the right.",
            icon=":material/link_off:",
        )
        return
    apart = state.linked(
        st.toggle,
        "Query, key and value apart",
        "apart",
        True,
        read=state.switch,
        write=state.yes_no,
        help="Off: all edges into one head are drawn as one, as wide as their sum.",
    )
    look = Look(apart=apart, labels=names.labels, groups=names.groups)
    stem = file_name(f"circuit-{seen.model.name}-{one.title}-{size}")
    drawing = drawn(graph, look, name=stem, unit=one.unit, sides=sides, called=called)
    circuit_graph(drawing, pinned=names.pinned, key=_GRAPH, on_pin=lambda: circuit_names.clicked(_GRAPH, names))
    said = []
    if drawing.left_out:
        said.append(f"The {MOST:,} strongest edges are drawn, {drawing.left_out:,} weaker ones are not.")
    if drawing.inside:
        said.append(f"{drawing.inside:,} edges inside groups are not drawn.")
    if graph.scores is None:
        said.append("The file holds no scores: all edges are drawn alike.")
    if said:
        st.caption(" ".join(said))
