"""The spectrum of a variable at every place, and the circle of the cell that is clicked."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state
from apps.running import sentences
from apps.screens.circuit_asked import fingerprint
from apps.screens.fourier_asked import Asked, examples, hints, run_button, template_asked, text_of
from apps.screens.fourier_files import offer_all
from apps.screens.fourier_fits import fitting
from apps.subject import Subject
from apps.text import plain
from apps.theme import is_dark
from apps.views.fourier_map import Words, fourier_map, panels_of
from apps.views.fourier_words import circle_said, cost_said, headline
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.fourier.plane import FourierPlane
    from workbench.analyses.fourier.spectrum_result import FourierSpectrum

_MAP = "fourier map"


def spectrum_tab(seen: Subject, asked: Asked) -> None:
    """Ask for the text, run, and draw the map with the circle beside it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        params: dict[str, Any] = {"variable": asked.variable, **template_asked(asked, seen.model)}
        params["detrend"] = state.linked(
            st.toggle,
            "Without the straight line",
            "detrend",
            False,
            read=state.switch,
            write=state.yes_no,
            help="Takes the straight line along the values off first: values that only grow also show as slow waves.",
        )
        ran = run_button("ran", seen.loaded, params)
    hints(asked, seen.model)
    if not ran:
        st.caption(plain(cost_said(asked.found, seen.model)))
        st.info("Choose a variable above and press Run, or try one of these.", icon=":material/play_arrow:")
        examples(seen.model, lambda name: mark(seen, name))
        return
    found: FourierSpectrum = results.result_of(seen.loaded, "fourier-spectrum", **params)
    _view(seen, found, asked, params)


def mark(seen: Subject, name: str) -> str:
    """What the address says once a variable was run in its own text."""
    asked: dict[str, Any] = {"variable": name, "template": text_of(name, seen.model), "read": "value"}
    asked["detrend"] = state.get("detrend") == "yes"
    return fingerprint(seen.loaded.name, asked)


@st.fragment
@sentences
def _view(seen: Subject, found: "FourierSpectrum", asked: Asked, params: dict[str, Any]) -> None:
    place, frequency = chosen(found)
    st.markdown(f"#### {plain(headline(found))}")
    with st.container(key="fourier-sides"):
        wide, narrow = st.columns([1.7, 1], gap="large")
    with wide:
        words = Words(
            row="layer",
            column="cycles",
            under="period",
            unit=found.unit,
            value="share of the power",
            beside="chance",
            mark=f"above 95 % of {found.draws} random orders",
            click="Click to see it as a circle.",
        )
        fourier_map(
            panels_of(found),
            words,
            chosen=(place, str(frequency)),
            key=_MAP,
            dark=is_dark(),
            on_click=_clicked,
        )
        st.caption(
            plain(
                f"Cycles are over all {len(found.values)} values, periods in {found.unit}. Chance is what the largest "
                "share stays below in 95 % of random orders. Click a cell, or reach it with the arrow keys and Enter."
            )
        )
        for note in found.notes[1:]:
            st.caption(f":material/info: {plain(note)}")
        offer_all(seen, registry.get("fourier-spectrum"), found, params)
    with narrow:
        _circle(seen, found, asked, params, place, frequency)


def chosen(found: "FourierSpectrum") -> tuple[str, int]:
    """The place and frequency that the address names; else where one is furthest above chance."""
    above = (found.shares[:, 1:] - found.null[:, None]).nan_to_num(-1)
    best = int(above.argmax())
    first = found.places[best // above.shape[1]], best % above.shape[1] + 1
    place = state.fitting("place", first[0], state.one_of(found.places))
    default = first[1] if place == first[0] else int(found.strongest[found.places.index(place), 0])
    return place, state.fitting("frequency", default, state.whole(1, above.shape[1]))


def _clicked() -> None:
    told = st.session_state[_MAP].click
    if told and told[0]:
        state.put(place=str(told[0]), frequency=str(told[1]))


@sentences
def _circle(
    seen: Subject, found: "FourierSpectrum", asked: Asked, params: dict[str, Any], place: str, frequency: int
) -> None:
    """The values in the plane of one frequency."""
    given = {**params, "place": place, "frequency": frequency}
    plane: FourierPlane = results.result_of(seen.loaded, "fourier-plane", **given)
    st.markdown(f"**{plain(place)}, {plain(f'{plane.period:.3g} {plane.unit}')} a turn**")
    share, roundness = plane.chances
    left, right = st.columns(2)
    left.metric("Share explained", _percent(float(plane.share)), help=plain(_HELD.format(_percent(float(plane.held)))))
    right.metric("Roundness", "undefined" if plane.roundness.isnan() else f"{float(plane.roundness):.2f}", help=_ROUND)
    st.caption(plain(circle_said(plane)))
    st.plotly_chart(
        plane.figure().update_layout(title=None, height=430, margin={"t": 12}), theme="streamlit", key="fourier circle"
    )
    task, why_not = fitting(asked, seen.model)
    if why_not:
        st.caption(plain(f"It cannot be filtered out with a built-in task. {why_not}"))
    elif st.button(
        "Filter it out",
        icon=":material/filter_alt_off:",
        key="fourier:filter",
        help="Take this frequency out of what attention and MLPs write, and see which answers of a task change.",
    ):
        state.put(tab="filter", task=task, remove="one", frequency=str(frequency))
        st.rerun()
    offer_all(seen, registry.get("fourier-plane"), plane, given)


_HELD = (
    "Power of this frequency over all power of the place. The plane as a whole holds {} of the distances from the mean."
)
_ROUND = "Smaller over larger length of its cos and sin part: 1 is a circle, 0 a line."


def _percent(value: float) -> str:
    return "undefined" if value != value else f"{value:.1%}"
