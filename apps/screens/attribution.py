"""Residual and logit attribution: how the stream grows and turns, and which part wrote the answer; bars that add up."""

from typing import TYPE_CHECKING

import streamlit as st

from apps import asking, exports, results, state
from apps.generic import offer
from apps.running import sentences
from apps.subject import Subject, subject
from apps.text import plain, visible
from apps.views.attribution_figures import bars, curves, layers_map, stream
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.readout.residual import Residual

CAVEAT = (
    "Direct effects only: what a part writes straight to the logit, with the final norm frozen at its scale. "
    "What later layers make of it counts as theirs."
)
_MANY = 40  # bars that can be read


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Residual and attribution",
        "How the stream grows and turns, and which part of the model wrote the answer.",
        warning=CAVEAT,
        analysis="residual",
    )
    if seen is None:
        return
    params = _asked(seen)
    _view(seen, results.result_of(seen.loaded, "residual", **params), params)


def _asked(seen: Subject) -> dict:
    left, middle, right = st.columns([1.2, 1.6, 2], vertical_alignment="bottom")
    with left:
        token = asking.answer("Answer", "Its logit is split up.")
    with middle:
        position = asking.position(seen)
    with right:
        heads = state.linked(
            st.toggle, "Split attention into heads", "heads", False, read=state.switch, write=state.yes_no
        )
    return {
        "prompt": seen.prompt,
        "token": token,
        "position": position,
        "heads": heads,
    }


@st.fragment
@sentences
def _view(seen: Subject, found: "Residual", params: dict) -> None:
    if found.contributions is None:
        st.info(plain(found.note or "This model has no readout that splits up."))
    else:
        _contributions(found, params)
    st.subheader("The stream", anchor=False)
    left, right = st.columns(2, gap="medium")
    with left:
        st.plotly_chart(curves(found, "norm"), key="attribution norms", config={"displaylogo": False})
    with right:
        st.plotly_chart(curves(found, "cosine"), key="attribution cosines", config={"displaylogo": False})
    offer(registry.get("residual"), seen, found, params, figure=lambda: stream(found))


def _contributions(found: "Residual", params: dict) -> None:
    frame = found.contributions_frame()
    total = sum(frame["contribution"].tolist())
    answer = plain(visible(found.token or ""))
    columns = st.columns(3, vertical_alignment="bottom")
    columns[0].metric("Logit", f"{found.logit:.4f}")
    columns[1].metric("Sum of the bars", f"{total:.4f}")
    columns[2].metric("Bars", f"{len(frame)}")
    st.caption(f"What each part adds to the logit of {answer} at position {found.position}.")
    shown = _MANY
    if len(frame) > _MANY:
        order = state.linked(
            st.segmented_control,
            "Show",
            "show",
            "largest",
            read=state.one_of(("largest", "in order")),
            options=["largest", "in order"],
            required=True,
            help="The largest bars with the rest in one, or all of them in the order they are written.",
        )
        shown = _MANY if order == "largest" else len(frame)
    picture = layers_map(found) if params["heads"] else None
    if picture is not None:
        left, right = st.columns([1, 1], gap="medium")
        with right:
            st.plotly_chart(picture, key="attribution heads", config={"displaylogo": False})
    else:
        left = st.container()
    with left:
        st.plotly_chart(bars(frame, shown), key="attribution bars", config={"displaylogo": False})
    exports.exports(
        "logit-attribution", figure=lambda: bars(frame, shown), frame=found.contributions_frame, key="attribution parts"
    )
