"""One click sets a layer's massive activations to zero or to their mean, and says what becomes of the loss."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state
from apps.generic import offer
from apps.running import sentences
from apps.subject import Subject
from apps.text import plain
from apps.views.sinks_figures import changes_figure
from apps.views.sinks_words import changed_said
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.extremes.massive_activations import MassiveActivations
    from workbench.analyses.extremes.massive_interventions import MassiveInterventions

ANALYSIS = "massive-interventions"
WAYS = {"zero": ("Set to zero", ":material/exposure_zero:"), "mean": ("Set to the mean", ":material/functions:")}
TOP = 3
"""Numbers that are taken where none is massive."""


def changed(seen: Subject, found: "MassiveActivations", layer: int) -> None:
    """The buttons, and what the chosen change does beside its controls."""
    st.markdown(f"#### {plain(f'What they are for: change them after layer {layer}')}")
    if sentence := registry.get(ANALYSIS).why_not(seen.model):
        st.caption(plain(sentence))
        return
    count = int((found.massive[:, 0] == layer).sum()) if len(found.massive) else 0
    asked = state.fitting("set", "", state.one_of(WAYS))
    if not count:
        words = "No number is massive after this layer" if len(found.massive) else "No number is massive"
        st.caption(plain(f"{words}, so the {TOP} largest are taken."))
    with st.container(horizontal=True, vertical_alignment="center"):
        for way, (label, icon) in WAYS.items():
            st.button(
                label,
                key=f"sinks:set:{way}",
                icon=icon,
                type="secondary" if asked else "primary",
                disabled=asked == way,
                on_click=_set,
                args=(way,),
            )
        if asked:
            st.button("Leave them as they are", key="sinks:set:none", on_click=_set, args=(None,))
        else:
            st.caption("A dozen forward passes, and calibration texts for the mean.")
    if asked:
        params: dict[str, Any] = {"prompt": seen.prompt, "layer": layer} | ({} if count else {"top": TOP})
        _shown(seen, params, asked)


def _set(way: str | None) -> None:
    state.put(set=way)


@sentences
def _shown(seen: Subject, params: dict[str, Any], asked: str) -> None:
    found: MassiveInterventions = results.result_of(seen.loaded, ANALYSIS, **params)
    frame = found.to_frame()
    if found.layer is None:
        st.info("Nothing was changed: no number is massive here.")
        return
    each: Any = frame.groupby("condition", sort=False).mean()  # draws of random numbers as one
    means, draws = each.to_dict("index"), found.conditions.count("random: zero")
    row, random, before = (means[name] for name in (f"massive: {asked}", "random: zero", "unaltered"))
    st.markdown(f"**{plain(changed_said(found, row, random, asked))}**")
    left, right = st.columns([1, 1.4], gap="medium")
    with left:
        with st.container(horizontal=True):
            if row["predicted"]:
                st.metric("Loss", f"{row['loss']:.3f}", f"{row['rise']:+.3f}", delta_color="inverse", help=_LOSS)
                st.metric("Perplexity", f"{row['perplexity']:,.4g}", help="exp of the loss")
            else:
                st.metric("KL of the answers", f"{row['kl']:.3g}", help="nats, mean over positions")
            if row["heads"]:
                change = f"{row['sink'] - before['sink']:+.3f}"
                st.metric("Sink after", f"{row['sink']:.3f}", change, delta_color="off", help=_SINK)
        places = found.places_frame()
        st.dataframe(places, hide_index=True, key="sinks changed places", height=min(220, 37 * (len(places) + 1)))
    with right:
        st.plotly_chart(changes_figure(frame, asked), theme="streamlit", key="sinks changes")
        st.caption(
            plain(
                f"Random: as many numbers of the layer drawn {draws} times. Next largest: as many that stand out "
                f"next and were left out. The mean is over {found.calibration_texts} calibration texts."
            )
        )
    offer(registry.get(ANALYSIS), seen, found, params, figure=lambda: changes_figure(frame, asked))


_LOSS = "Mean next-token loss of the prompt, in nats; below, its change."
_SINK = "Mean attention of all heads of later layers to the token of the largest number; below, its change."
