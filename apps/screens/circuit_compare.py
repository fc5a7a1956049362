"""Two circuits at the same size: what they share, and whether one does the task of the other."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports, results, state
from apps.exports import file_name
from apps.screens import circuit_asked, circuit_files
from apps.screens.circuit_shown import Shown, measured, of_graph, of_result
from apps.subject import Subject
from apps.text import plain
from apps.views.circuit_compared import cross_figure, overlap_figure
from apps.views.circuit_union import counted, jaccard_of, matched_frame, side_frame
from workbench import registry
from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.analyses.circuits.circuit_comparison import CircuitComparison
    from workbench.circuits.graph_data import CircuitGraph

COMPARISON = "circuit-comparison"
OPENED = "circuit:opened"
_SECOND = "circuit:second"
_CROSS = "circuit:cross"
_ROWS = 5000
_PARTED = "|"
"""Between task and method in the address."""


def second(seen: Subject, one: Shown, params: dict[str, Any]) -> Shown | None:
    """The circuit that the page is compared with, if the reader has chosen one."""
    other = None
    if (opened := circuit_files.opened_of(_SECOND)) is not None:
        name, what = opened
        if getattr(what, "kind", "circuit") != "circuit":
            raise BadInput(f"{name} holds no single circuit: compare with a saved circuit or a graph.")
        other = of_result(what) if hasattr(what, "kind") else of_graph(what, name)
    elif asked := state.fitting("against", None, _read):
        changed = {**params, "task": asked[0], "method": asked[1]}
        other = of_result(results.result_of(seen.loaded, circuit_asked.ANALYSIS, **changed))
    if other is not None and other.graph.sources + other.graph.slot_names != one.graph.sources + one.graph.slot_names:
        raise BadInput(
            f"{other.title} cannot be compared with {one.title}: they are of models of other sizes, or count keys and "
            "values in other ways. Choose the same slots for both."
        )
    return other


def _read(text: str) -> tuple[str, str]:
    task, part, method = text.rpartition(_PARTED)
    methods = {p.name: p.choices for p in registry.get(circuit_asked.ANALYSIS).params}["method"]
    if not (task and part) or method not in methods:
        raise ValueError(text)
    return task, method


def compare(
    seen: Subject,
    one: Shown,
    other: Shown | None,
    pair: "tuple[CircuitGraph, CircuitGraph] | None",
    params: dict[str, Any],
    compared: "CircuitComparison | None" = None,
) -> None:
    """Choose what to compare with; then the numbers and the edges. `compared` is a comparison from a file."""
    if compared is not None and pair is not None and other is not None:
        _pictures(seen, compared)
        _table(one, other, pair)
        return
    _choose(one, params)
    if other is None or pair is None:
        st.caption("Choose another task or method, or open a saved circuit: the drawing then has both.")
        return
    st.button("Stop comparing", icon=":material/close:", on_click=_stop)
    if (opened := circuit_files.opened_of(_SECOND)) is not None:
        st.caption(plain(f"{opened[0]}: {circuit_files.said_of(opened[1], seen.model.name)}"))
    _numbers(seen, one, other, params)
    _table(one, other, pair)


def _table(one: Shown, other: Shown, pair: "tuple[CircuitGraph, CircuitGraph]") -> None:
    frame = side_frame(*pair, one.title, other.title)
    st.dataframe(
        frame.head(_ROWS),
        hide_index=True,
        height=min(420, 38 + 35 * max(1, len(frame))),
        column_config={
            name: st.column_config.NumberColumn(format="%+.4g") for name in frame.columns if name.startswith("score")
        },
        key="circuit sides",
    )
    st.download_button(
        "CSV of both",
        lambda: frame.to_csv(index=False),
        "circuits.csv",
        "text/csv",
        key="circuit sides file",
        on_click="ignore",
        icon=":material/file_save:",
    )


def _choose(one: Shown, params: dict[str, Any]) -> None:
    methods = {p.name: p.choices for p in registry.get(circuit_asked.ANALYSIS).params}["method"]
    task, method = state.fitting("against", None, _read) or (str(params["task"]), str(params["method"]))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        named = circuit_asked.task_names(task)
        chosen = st.selectbox(
            "Compare with the task",
            named,
            named.index(task),
            accept_new_options=True,
            key=f"circuit against {task}",
            width=220,
        )
        by = st.selectbox(
            "found by", methods, list(methods).index(method), key=f"circuit against by {method}", width=190
        )
        same = one.found is not None and (chosen, by) == (one.found.task, one.found.method)
        st.button(
            "Run and compare",
            icon=":material/compare_arrows:",
            disabled=same or not chosen,
            help="The same circuit cannot be compared with itself: choose another task or method." if same else None,
            on_click=_take,
            args=(str(chosen), str(by)),
        )
        circuit_files.open_button(_SECOND, "Compare with a file", "A saved result, or a graph.")


def _take(task: str, method: str) -> None:
    circuit_files.close(_SECOND)
    state.put(against=f"{task}{_PARTED}{method}")


def _stop() -> None:
    circuit_files.close(_SECOND)
    state.put(against=None)


def said(one: Shown, other: Shown, pair: "tuple[CircuitGraph, CircuitGraph]") -> str:
    """What two circuits share, in a sentence."""
    both, first, second = counted(*pair)
    value = jaccard_of(*pair)
    jaccard = "undefined: both are empty" if value is None else f"{value:.2f}"
    return (
        f"{both:,} edges are shared, {first:,} only in {one.title}, {second:,} only in {other.title}: "
        f"Jaccard {jaccard}."
    )


def _numbers(seen: Subject, one: Shown, other: Shown, params: dict[str, Any]) -> None:
    """Jaccard at every measured size, and the circuit of each on the task of the other."""
    sizes = measured(one).sizes or measured(other).sizes
    if sizes and not one.fixed and not other.fixed:
        frame = matched_frame([(n, one.at(n), other.at(n)) for n in sizes])
        st.dataframe(frame, hide_index=True, column_config={"Jaccard": st.column_config.NumberColumn(format="%.2f")})
    st.caption("Sharing edges is not doing the same: that is measured by running each circuit on the other's task.")
    if one.found is None or circuit_files.opened_of(_SECOND) is not None or circuit_files.opened_of(OPENED) is not None:
        st.caption("Circuits from files are not run: run both tasks here to measure that.")
        return
    _cross(seen, other, params)


def _cross(seen: Subject, other: Shown, params: dict[str, Any]) -> None:
    """Each circuit on the task of the other, measured when asked for."""
    declared = {p.name for p in registry.get(COMPARISON).params}
    values = {name: value for name, value in params.items() if name in declared}
    assert other.found is not None
    asked = state.fitting("against", None, _read)
    values |= {"other": asked[0] if asked else other.found.task, "other_method": other.found.method}
    mark = circuit_asked.fingerprint(seen.loaded.name, values)
    if st.session_state.get(_CROSS) != mark:
        st.button(
            "Measure each on the other's task",
            icon=":material/play_arrow:",
            on_click=lambda: st.session_state.update({_CROSS: mark}),
            help="Scores both again and runs both circuits, of every measured size, on both tasks.",
        )
        return
    _pictures(seen, results.result_of(seen.loaded, COMPARISON, **values), values)


def _pictures(seen: Subject, found: "CircuitComparison", values: dict[str, Any] | None = None) -> None:
    """Each circuit on each task, what they share, and files; `values` make it again."""
    text, _ = found.brief()
    st.caption(plain(text))
    left, right = st.columns(2)
    left.plotly_chart(cross_figure(found), theme="streamlit", key="circuit cross")
    right.plotly_chart(overlap_figure(found), theme="streamlit", key="circuit overlap")
    exports.exports(
        f"circuits-{seen.model.name}-{file_name('-'.join(found.tasks))}",
        figure=found.figure,
        frame=found.cross_frame,
        key="circuit comparison",
        python="" if values is None else registry.get(COMPARISON).as_python(seen.loaded.name, values),
        command="" if values is None else registry.get(COMPARISON).as_command(seen.loaded.name, values),
    )
