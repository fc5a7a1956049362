"""One head of a grid is locked: by a click on its tile or on its row of the table below, and in the address."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import state

if TYPE_CHECKING:
    import pandas as pd


def locked_head(layers: int, heads: int) -> str:
    """The locked head, "LAYER.HEAD", if the address names one that this model has."""
    try:
        layer, head = map(int, state.get("locked").split("."))
    except ValueError:
        return ""
    return f"{layer}.{head}" if 0 <= layer < layers and 0 <= head < heads else ""


def lock_clicked(grid: str) -> None:
    """Lock the head whose tile was clicked in the grid of that key; a second click lets it go."""
    clicked = st.session_state[grid].click
    if clicked:
        state.put(locked=None if clicked == state.get("locked") else clicked)
        st.session_state[f"{grid}:tables"] = st.session_state.get(f"{grid}:tables", 0) + 1


def head_table(
    frame: "pd.DataFrame", columns: dict[str, Any], *, by: str | None, lowest: bool, locked: str, grid: str
) -> None:
    """A row a head (column `head`, "LAYER.HEAD"), in the order of the column `by` if given; a row locks its head."""
    if by is not None:
        frame = frame.sort_values(by, ascending=lowest, kind="stable", na_position="last", ignore_index=True)
    key = f"{grid} table:{st.session_state.get(f'{grid}:tables', 0)}:{by}:{lowest}"
    heads: list[str] = frame["head"].tolist()

    def selected() -> None:
        rows = st.session_state[key].selection.rows
        state.put(locked=heads[rows[0]] if rows else None)

    st.dataframe(
        frame,
        key=key,
        height=320,
        hide_index=True,
        on_select=selected,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [heads.index(locked)] if locked else []}},
        column_config=columns,
    )
