"""One circuit over the steps of training: a slider over steps, which nodes are in it when, and how much of it stays."""

from typing import TYPE_CHECKING, cast

import streamlit as st

from apps import exports
from apps.checkpoints import step_slider
from apps.running import sentences
from apps.screens import circuit_names
from apps.screens.circuit_names import Names
from apps.subject import Subject
from apps.text import plain
from apps.views.circuit_graph import Look, circuit_graph, drawn
from apps.views.circuit_history import What, presence_figure, step_figure
from apps.views.circuit_union import counted, union_of
from apps.views.circuit_words import number, percent, unit_of

if TYPE_CHECKING:
    from workbench.analyses.circuits.history_result import CircuitHistory

_GRAPH = "circuit graph"
_WHAT: dict[What, str] = {"faithfulness": "How faithful", "size": "How large", "overlap": "What stays"}


@st.fragment
@sentences
def history(seen: Subject, found: "CircuitHistory") -> None:
    """Draw what a saved history says."""
    place = step_slider(found.steps, found.unit)
    st.markdown(f"#### {plain(_said(found, place))}")
    narrow, wide = st.columns([1, 1.7], gap="medium")
    with narrow:
        what = st.segmented_control(
            "Over the steps",
            list(_WHAT),
            default="faithfulness",
            format_func=lambda name: _WHAT[name],
            required=True,
            key="circuit history of",
            label_visibility="collapsed",
        )
        st.plotly_chart(step_figure(found, cast("What", what), place), theme="streamlit", key="circuit history curve")
    with wide:
        _graph(seen, found, place)
    if bool(found.present.any()):
        st.plotly_chart(presence_figure(found, place), theme="streamlit", key="circuit history nodes")
        st.dataframe(found.appearances(), hide_index=True, key="circuit appearances")
    for note in found.notes:
        st.caption(f":material/info: {plain(note)}")
    exports.exports(
        f"circuit-history-{found.task}", figure=found.figure, frame=found.to_frame, key="circuit history files"
    )


def _said(found: "CircuitHistory", place: int) -> str:
    at = f"{found.unit} {found.steps[place]:,}"
    if not bool(found.does[place]):
        return f"At {at} the model does not do {found.task}: no circuit is looked for"
    size = int(found.size[place])
    if not size:
        return f"At {at} no circuit gives {percent(found.target)} of {found.task}"
    share = percent(float(found.reached[place]))
    nodes = int(found.present[place].sum())
    return f"At {at} {int(found.kept[place]):,} edges between {nodes:,} nodes carry {share} of {found.task}"


def _graph(seen: Subject, found: "CircuitHistory", place: int) -> None:
    """The circuit of this step, and that which is followed through all steps, in three colours."""
    own = found.circuit(found.steps[place])
    own.check_for(seen.model)
    followed = found.graph or own
    if not own.n_kept and not followed.n_kept:
        st.info(
            "No circuit was found at this step, and none is followed through the others.", icon=":material/link_off:"
        )
        return
    names: Names = circuit_names.names_of(own)
    step = f"{found.unit} {found.steps[place]:,}"
    graph, sides = union_of(own, followed)
    drawing = drawn(
        graph,
        Look(apart=True, labels=names.labels, groups=names.groups),
        name=f"circuit-history-{found.task}-{found.steps[place]}",
        unit=unit_of(found.metric),
        sides=sides,
        called=("in both", f"only in the circuit at {step}", "only in the circuit that is followed"),
    )
    circuit_graph(drawing, pinned=names.pinned, key=_GRAPH, on_pin=lambda: circuit_names.clicked(_GRAPH, names))
    both, now, then = counted(own, followed)
    last = number(float(found.last_circuit[place]))
    st.caption(
        plain(
            f"The circuit followed through all steps has {both + then:,} edges, {both:,} of them in this step's own "
            f"circuit, which has {now:,} more. Run at this step, the one that is followed has a faithfulness of {last}."
        )
    )
