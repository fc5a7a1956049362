"""The edges of the circuit as a table, and the prompts it was found on."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports, state
from apps.screens import circuit_asked
from apps.screens.circuit_names import Names
from apps.screens.circuit_shown import Shown
from apps.screens.circuit_sized import figure_of
from apps.subject import Subject
from apps.views.circuit_tables import edge_frame
from workbench import registry

if TYPE_CHECKING:
    from workbench.circuits.graph_data import CircuitGraph

_ROWS = 5000  # that the browser is sent


def edges(
    seen: Subject, one: Shown, size: int, graph: "CircuitGraph", names: Names, params: dict[str, Any] | None
) -> None:
    search = state.linked(
        st.text_input,
        "Search",
        "find",
        "",
        read=str,
        placeholder="a node, a slot, or a name of yours: a5.h1, key, m3",
        width=360,
    )
    frame = edge_frame(graph, names.labels, search)
    st.dataframe(
        frame.head(_ROWS),
        hide_index=True,
        height=min(420, 38 + 35 * max(1, len(frame))),
        column_config={
            "score": st.column_config.NumberColumn(
                format="%+.4g",
                help=f"How far the metric drops without the edge, in {one.unit}; negative: it works against it.",
            )
        },
        key="circuit edges",
    )
    if len(frame) > _ROWS:
        st.caption(f"The first {_ROWS:,} of {len(frame):,} edges; Export holds all.")
    same = {}
    if params is not None:
        analysis = registry.get(circuit_asked.ANALYSIS)
        values = {name: value for name, value in params.items() if value is not None}
        same = {
            "python": analysis.as_python(seen.loaded.name, values),
            "command": analysis.as_command(seen.loaded.name, values),
        }
    exports.exports(
        f"circuit-{seen.model.name}-{one.title}-{size}",
        figure=None if one.found is None else lambda: figure_of(one, size, f"{seen.model.name}: {one.title}"),
        frame=lambda: edge_frame(graph, names.labels),
        key="circuit",
        **same,
    )


def examples(one: Shown) -> None:
    """The first pairs of prompts, and what became of the others."""
    if one.found is None:
        st.caption("A graph does not say which prompts it was found on.")
        return
    st.caption(f"The first {len(one.found.examples)} of {one.found.n_examples:,} pairs of prompts.")
    columns = ["clean prompt", "corrupted prompt", "right answers", "wrong answers"]
    st.dataframe([dict(zip(columns, row, strict=False)) for row in one.found.examples], hide_index=True)
