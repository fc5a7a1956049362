"""Attention sinks of a prompt: every head by the attention that one token draws, its values and its states."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state
from apps.generic import offer
from apps.locking import head_table, lock_clicked, locked_head
from apps.running import sentences
from apps.subject import Subject
from apps.text import plain, visible
from apps.theme import is_dark
from apps.views.grid import in_place
from apps.views.sinks_figures import keys_figure, states_figure, values_figure
from apps.views.sinks_grid import colour_grid, legend
from apps.views.sinks_words import beside_sinks, sinks_said
from workbench import functional, registry

if TYPE_CHECKING:
    from workbench.analyses.extremes.attention_sinks import AttentionSinks

ANALYSIS = "attention-sinks"
STARTS = {"as the tokenizer does": "as usual", "yes": "with", "no": "without"}
_GRID = "sinks grid"
_clicked = partial(lock_clicked, _GRID)
_DEEP = 1.6  # layers per head from which layers go across


def heads_tab(seen: Subject) -> None:
    """Ask for the attention and the start token, run, and draw the map."""
    if sentence := registry.get(ANALYSIS).why_not(seen.model):
        st.info(plain(sentence))
        return
    params: dict[str, Any] = {"prompt": seen.prompt}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = list(seen.model.attentions)
        if len(names) > 1:
            params["attention"] = state.linked(
                st.segmented_control, "Attention", "attention", names[0], read=state.one_of(names), options=names,
                required=True,
            )  # fmt: skip
        if seen.model.reads == "text":
            start = state.linked(
                st.segmented_control,
                "Start token",
                "start",
                "as the tokenizer does",
                read=state.one_of(STARTS),
                options=list(STARTS),
                format_func=STARTS.__getitem__,
                required=True,
                help="Whether a start token (BOS) stands first. Without one the first token takes its place.",
            )
            params |= {"start": start} if start != "as the tokenizer does" else {}
        found: AttentionSinks = results.result_of(seen.loaded, ANALYSIS, **params)
        position = state.linked(
            st.selectbox,
            "Token",
            "position",
            found.position,
            read=state.whole(0, len(found.keys) - 1),
            options=list(range(len(found.keys))),
            format_func=lambda i: f"{i}  {visible(found.keys[i])}",
            width=200,
        )
        threshold = state.linked(
            st.slider,
            "A sink from",
            "threshold",
            functional.SINK_SHARE,
            read=_share,
            min_value=0.05,
            max_value=0.95,
            step=0.05,
            width=220,
            help="The share of its attention from which a head is called a sink head. Gu et al. (2025) take 0.3.",
        )
    params |= {"position": position} if position != found.position else {}
    params |= {"threshold": threshold} if threshold != functional.SINK_SHARE else {}
    _view(seen, replace(found, position=position, threshold=threshold), params)


def _share(text: str) -> float:
    value = round(float(text), 2)
    if not 0.05 <= value <= 0.95:
        raise ValueError(text)
    return value


@st.fragment
@sentences
def _view(seen: Subject, found: "AttentionSinks", params: dict[str, Any]) -> None:
    st.markdown(f"#### {plain(sinks_said(found))}")
    st.caption(plain(beside_sinks(found)))
    layers, heads = found.mass.shape[:2]
    locked, dark = locked_head(layers, heads), is_dark()
    mass = found.mass[..., found.position]
    first = int(mass.nan_to_num(-1.0).argmax())
    layer, head = map(int, (locked or f"{first // heads}.{first % heads}").split("."))
    wide, narrow = st.columns([1.5, 1], gap="large")
    with wide:
        layout = in_place(layers, heads, across=layers > _DEEP * heads)
        group = heads // found.n_kv_heads
        ratio = found.value_ratio[..., found.position].repeat_interleave(group, dim=1)
        numbers = {
            "attention it draws": mass.numpy(),
            "value, times the others": ratio.numpy(),
        }
        colour_grid(numbers, layout, (0.0, 1.0), key=_GRID, locked=locked, dark=dark, on_click=_clicked)
        legend(
            "attention that the token draws",
            (0.0, 1.0),
            "A square is a head. Click it, or reach it with Tab and the arrow keys and press Enter.",
            key="sinks legend",
            dark=dark,
        )
    with narrow:
        _head(found, layer, head, chosen=bool(locked))
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Value drain: how long the token's value is**")
        st.plotly_chart(values_figure(found, layer, head), theme="streamlit", key="sinks values")
    with right:
        st.markdown("**Residual peak: how long its state is**")
        st.plotly_chart(states_figure(found, layer), theme="streamlit", key="sinks states")
    st.caption("Values beside the mean of the other tokens' values, states beside the median of the others' states.")
    offer(registry.get(ANALYSIS), seen, found, params)
    _table(found, locked)


def _head(found: "AttentionSinks", layer: int, head: int, *, chosen: bool) -> None:
    """What each token draws in one head, and the way to its own page."""
    if not chosen:
        st.info("This head gives the token most. Click another to lock it.", icon=":material/ads_click:")
    st.markdown(f"**Layer {layer}, head {head}: attention that each token draws**")
    st.plotly_chart(keys_figure(found, layer, head), theme="streamlit", key="sinks keys")
    with st.container(horizontal=True):
        options = {"attention": state.get("attention")} if state.get("attention") else {}
        if st.button("Open head", type="primary", icon=":material/center_focus_strong:", key="sinks:head"):
            state.go("head", layer=str(layer), head=str(head), **options)
        if st.button("Ablate it", icon=":material/content_cut:", key="sinks:ablate"):
            name = found.attention
            state.go("ablate", sites=f"{name.rpartition('.')[0]}.{layer}.{name.rpartition('.')[2]}.z:{head}")


def _table(found: "AttentionSinks", locked: str) -> None:
    frame = found.to_frame()
    heads = [f"{layer}.{head}" for layer, head in zip(frame["layer"], frame["head"], strict=True)]
    frame = frame.assign(head=heads, strongest=frame["strongest_token"].map(visible))
    frame = frame.loc[:, ["head", "mass", "sink", "value_ratio", "strongest", "strongest_mass"]]
    number = st.column_config.NumberColumn
    columns = {
        "mass": number("attention it draws", format="%.3f"),
        "sink": st.column_config.CheckboxColumn("sink head"),
        "value_ratio": number("value, times the others", format="%.3g"),
        "strongest": "strongest token",
        "strongest_mass": number("attention that draws", format="%.3f"),
    }
    head_table(frame, columns, by="mass", lowest=False, locked=locked, grid=_GRID)
