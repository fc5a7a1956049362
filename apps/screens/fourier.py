"""Fourier: along which frequencies a model lays out an ordered variable, as circles, and what it does without them."""

from pathlib import Path

import streamlit as st

from apps import state, views
from apps.models import Loaded
from apps.screens import fourier_asked
from apps.screens.fourier_asked import Asked
from apps.screens.fourier_spectrum import spectrum
from apps.subject import of_many

CAVEAT = (
    "A few values reach large shares by chance, and a straight line along them shows as slow waves: "
    "look at the random orders before a circle."
)
TABS = {
    "spectrum": "Spectrum and circles",
}


def page() -> None:
    """Draw the page."""
    st.html(Path(views.__file__).with_name("fourier.css"))
    top = of_many(
        "Fourier",
        "Along which frequencies a model lays out days, months, letters or numbers, and what it does without them.",
        _asked,
        warning=CAVEAT,
        analysis="fourier-spectrum",
    )
    if top is None:
        return
    seen, asked = top
    if asked is None:
        fourier_asked.sorry()
        return
    spectrum(seen, asked)


def _asked(one: Loaded) -> Asked | None:
    return fourier_asked.variable_asked(one)


def tab() -> str:
    """Draw the choice of what is looked at."""
    return state.linked(
        st.segmented_control,
        "Look at",
        "tab",
        "spectrum",
        read=state.one_of(TABS),
        options=list(TABS),
        format_func=TABS.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
