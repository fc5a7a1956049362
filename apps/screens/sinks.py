"""Sinks and massive activations: the few tokens that draw attention, the few numbers that outgrow all others."""

from collections.abc import Callable

import streamlit as st

from apps import state
from apps.screens.sinks_dormant import dormant_tab
from apps.screens.sinks_heads import heads_tab
from apps.screens.sinks_massive import massive_tab
from apps.screens.sinks_training import training_tab
from apps.subject import Subject, subject

CAVEATS = {
    "massive": "A prompt of a few tokens has an unsteady median, and many models have no massive number at all.",
    "sinks": "A sink says where attention is parked, not why: look at the value there, and ablate the head.",
    "dormant": "What parks its attention on one kind of text may act on another: look at what is lost without it.",
    "training": "All steps are measured on this prompt and at the token that is the sink of the last of them.",
}
TABS: dict[str, tuple[str, Callable[[Subject], None]]] = {
    "massive": ("Massive activations", massive_tab),
    "sinks": ("Sinks", heads_tab),
    "dormant": ("Dormant heads", dormant_tab),
    "training": ("Training", training_tab),
}
"""What is looked at: its title, and what draws it."""


def page() -> None:
    """Draw the page."""
    tab = state.fitting("tab", "massive", state.one_of(TABS))
    seen = subject(
        "Sinks and massive activations",
        "Which tokens draw attention whatever is asked, which numbers of the stream outgrow all others, and what "
        "becomes of the model without them.",
        warning=CAVEATS[tab],
    )
    if seen is None:
        return
    chosen = state.linked(
        st.segmented_control,
        "Look at",
        "tab",
        "massive",
        read=state.one_of(TABS),
        options=list(TABS),
        format_func=lambda name: TABS[name][0],
        required=True,
        label_visibility="collapsed",
    )
    TABS[chosen][1](seen)
