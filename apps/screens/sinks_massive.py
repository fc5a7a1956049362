"""Massive activations of a prompt: the largest numbers of each layer, where they stand, and a layer's picture."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state
from apps.generic import offer
from apps.running import sentences
from apps.screens.sinks_changed import changed
from apps.subject import Subject
from apps.text import plain
from apps.views.sinks_figures import layers_figure, picture_figure
from apps.views.sinks_words import massive_said, rule, texts_said
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.extremes.massive_activations import MassiveActivations

ANALYSIS = "massive-activations"
_FEW = 10  # rows of the table where nothing is massive


def massive_tab(seen: Subject) -> None:
    """Run, and draw the curve over layers with the chosen layer's picture beside it."""
    if sentence := registry.get(ANALYSIS).why_not(seen.model):
        st.info(plain(sentence))
        return
    over = state.linked(
        st.toggle,
        "Over ten other texts, too",
        "over",
        False,
        read=state.switch,
        write=state.yes_no,
        disabled=seen.model.reads != "text",
        help="Runs ten texts of the example corpus beside the prompt: whether the same numbers are massive in all.",
    )
    params: dict[str, Any] = {"prompt": seen.prompt} | ({"texts": "example"} if over else {})
    _view(seen, results.result_of(seen.loaded, ANALYSIS, **params), params)


@st.fragment
@sentences
def _view(seen: Subject, found: "MassiveActivations", params: dict[str, Any]) -> None:
    st.markdown(f"#### {plain(massive_said(found))}")
    st.caption(plain(f"{found.first} Massive is what is {rule(found)}."))
    layer = _layer(found)
    left, right = st.columns([1, 1.15], gap="medium")
    with left:
        st.markdown("**The largest numbers and the median**")
        st.plotly_chart(layers_figure(found, layer), theme="streamlit", key="sinks layers")
        over = texts_said(found) if found.texts else ""
        st.caption(plain(f"A number is massive where it is above both dashed lines. {over}"))
        offer(registry.get(ANALYSIS), seen, found, params, figure=lambda: layers_figure(found, layer))
        _table(found)
    with right:
        st.markdown(f"**The stream after layer {layer}: tokens by dimensions**")
        st.plotly_chart(picture_figure(found, layer), theme="streamlit", key="sinks picture")
        st.caption(
            plain(
                f"The {len(found.dimensions)} dimensions that grow largest beside the median in any layer; "
                f"{_tokens_said(found)} What is massive is written into its cell."
            )
        )
    changed(seen, found, layer)


def _layer(found: "MassiveActivations") -> int:
    """The layer that is shown, and changed: at first the first with a massive number, or where one stands out most."""
    count = len(found.median)
    first = int(found.massive[0, 0]) if len(found.massive) else found.layer
    if count == 1:
        return 0
    return state.linked(
        st.slider,
        "After layer",
        "layer",
        first,
        read=state.whole(0, count - 1),
        min_value=0,
        max_value=count - 1,
    )


def _tokens_said(found: "MassiveActivations") -> str:
    n = len(found.tokens)
    return f"all {n} tokens." if n <= 40 else f"of {n} tokens the 40 with the largest numbers."


def _table(found: "MassiveActivations") -> None:
    """All massive numbers; where there is none, those that stand out most. Over texts, how little they change."""
    numbers = {name: st.column_config.NumberColumn(format="%.4g") for name in ("value", "ratio", "median", "varies")}
    if len(found.massive):
        st.markdown("**Every massive number**")
        frame = found.massive_frame()
    else:
        st.markdown("**None is massive: the numbers that stand out most**")
        frame = found.to_frame().sort_values("ratio", ascending=False).head(_FEW)
        frame = frame.loc[:, ["layer", "pos", "token", "dimension", "value", "ratio"]]
    height = min(320, 37 * (len(frame) + 1))
    st.dataframe(frame, hide_index=True, key="sinks massive", column_config=numbers, height=height)
    if found.texts:
        with st.expander(f"The same dimensions in {len(found.text_value)} texts", icon=":material/table_rows:"):
            st.dataframe(found.texts_frame(), hide_index=True, key="sinks texts", column_config=numbers)
