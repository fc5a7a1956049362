"""Beside the drawing: the pinned node with its edges, its name, and groups."""

from typing import TYPE_CHECKING

import streamlit as st

from apps.screens import circuit_names as names_of
from apps.screens.circuit_names import LONGEST, Names
from apps.text import plain
from apps.views.circuit_tables import beside_frames
from workbench.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.circuits.graph_data import CircuitGraph

_HEIGHT = 210  # pixels of a table
_SAID = "circuit:said"


def beside(graph: "CircuitGraph", names: Names, unit: str) -> None:
    """Tables of what is pinned, and what can be done with it."""
    if said := st.session_state.pop(_SAID, ""):
        st.warning(plain(said))
    if not names.pinned:
        st.caption("Click a mark to pin it: its edges are listed here, and it can be named and grouped.")
        return
    mark = names.pinned[-1]
    if len(names.pinned) > 1:
        mark = st.selectbox("Pinned", list(reversed(names.pinned)), key=f"circuit pinned {names.pinned}")
    with st.container(border=True):
        called = names.labels.get(mark, "")
        st.markdown(f"**{plain(called or mark)}**" + (f"  {plain(mark)}" if called else ""))
        members = names.members(mark)
        if mark in names.groups:
            st.caption(plain(", ".join(members)))
        _rename(names, mark)
        into, out = beside_frames(graph, members, names.labels)
        for title, frame in (("In", into), ("Out", out)):
            if frame.empty:
                st.caption(f"{title}: none in this circuit.")
                continue
            st.caption(f"{title}: {len(frame):,}, together {frame['score'].sum():+.3g} {plain(unit)}")
            st.dataframe(
                frame,
                hide_index=True,
                height=min(_HEIGHT, 38 + 35 * len(frame)),
                column_config={"score": st.column_config.NumberColumn(format="%+.3g")},
                key=f"circuit {title} {mark}",
            )
    _grouping(graph, names)


def _rename(names: Names, mark: str) -> None:
    if mark not in names.groups and (mark in ("input", "logits") or "kv" in mark):
        return
    now = mark if mark in names.groups else names.labels.get(mark, "")
    key = f"circuit name {mark} {now}"
    st.text_input(
        "Name",
        now,
        key=key,
        max_chars=LONGEST,
        placeholder="a name of your own",
        on_change=_told,
        args=(lambda: names_of.rename(names, mark, st.session_state[key]),),
    )


def _grouping(graph: "CircuitGraph", names: Names) -> None:
    groups = [mark for mark in names.pinned if mark in names.groups]
    if groups:
        st.button(
            "Take the group apart",
            icon=":material/call_split:",
            on_click=_told,
            args=(lambda: names_of.ungroup(names, groups[-1]),),
        )
    if len(names.pinned) < 2:
        st.caption("Shift and click pins more than one; pinned nodes can be drawn as one.")
        return
    key = f"circuit group {names.pinned}"
    st.text_input(
        f"Draw these {len(names.pinned)} as one, called",
        key=key,
        max_chars=LONGEST,
        placeholder="name of the group, then Enter",
        on_change=_told,
        args=(lambda: names_of.group(names, st.session_state[key], graph),),
    )


def _told(change: "Callable[[], Names]") -> None:
    try:
        names_of.take(change())
    except BadInput as error:  # what a callback draws would stand above the page
        st.session_state[_SAID] = str(error)
