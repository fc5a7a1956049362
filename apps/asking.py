"""Questions that several screens ask: which answer, and at which position."""

import streamlit as st

from apps import state
from apps.subject import Subject
from apps.text import visible


def answer(label: str, help: str) -> str | None:
    """The answer that is followed; None is the model's own."""
    text = state.linked(
        st.text_input, label, "token", "", read=str, placeholder="the model's own answer", help=f"One token. {help}"
    )
    return text or None


def position(seen: Subject) -> int | None:
    """The position that is read; None is where the model answers."""
    count = len(seen.answered)
    chosen = state.linked(
        st.selectbox,
        "Read at",
        "position",
        -1,
        read=state.whole(-1, count - 1),
        options=[-1, *range(count)],
        format_func=lambda i: "where the model answers" if i < 0 else f"{i}  {visible(seen.answered[i])}",
    )
    return None if chosen < 0 else chosen
