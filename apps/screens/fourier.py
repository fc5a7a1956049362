"""Fourier: along which frequencies a model lays out an ordered variable, as circles, and what it does without them."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from apps import state, views
from apps.screens import fourier_asked
from apps.screens.fourier_asked import Asked
from apps.screens.fourier_filter import filter_tab
from apps.screens.fourier_neurons import neurons_tab
from apps.screens.fourier_pairs import pairs_tab
from apps.screens.fourier_spectrum import mark, spectrum_tab
from apps.screens.fourier_training import training_tab
from apps.subject import Subject, of_many

CAVEATS = {
    "spectrum": "A few values reach large shares by chance, and a straight line along them shows as slow waves: "
    "look at the random orders before a circle.",
    "filter": "Taking so much out of what is written changes answers by itself: look at the random filters before the "
    "waves.",
    "pairs": "What the logits over all pairs are made of, not how the model comes to them.",
    "neurons": "Where values are few, neurons follow one frequency by chance: look at the same in random order.",
    "training": "Key frequencies are those of the last checkpoint, so that every step is measured by the same ones.",
}
TABS: dict[str, tuple[str, Callable[[Subject, Asked], None]]] = {
    "spectrum": ("Spectrum and circles", spectrum_tab),
    "filter": ("Filter", filter_tab),
    "pairs": ("Pairs", pairs_tab),
    "neurons": ("Neurons", neurons_tab),
    "training": ("Training", training_tab),
}
"""What is looked at: its title, and what draws it."""


def page() -> None:
    """Draw the page."""
    st.html(Path(views.__file__).with_name("fourier.css"))
    top = of_many(
        "Fourier",
        "Along which frequencies a model lays out days, months, letters or numbers, and what it does without them.",
        fourier_asked.variable_asked,
        warning=CAVEATS[state.fitting("tab", "spectrum", state.one_of(TABS))],
        analysis="fourier-spectrum",
    )
    if top is None:
        return
    seen, asked = top
    if asked is None:
        fourier_asked.sorry(seen.model, lambda name: mark(seen, name))
        return
    chosen = state.linked(
        st.segmented_control,
        "Look at",
        "tab",
        "spectrum",
        read=state.one_of(TABS),
        options=list(TABS),
        format_func=lambda name: TABS[name][0],
        required=True,
        label_visibility="collapsed",
    )
    TABS[chosen][1](seen, asked)
