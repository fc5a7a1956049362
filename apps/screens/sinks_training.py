"""Sinks and massive activations over the checkpoints of a training, with a slider over them."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports, state
from apps.cache import Cache
from apps.checkpoints import checkpoints_of, look_into, none_said, step_slider, thinned
from apps.running import progress, sentences
from apps.screens.fourier_asked import run_button
from apps.subject import Subject
from apps.text import plain
from apps.views.sinks_training import LINES, PICTURES, history_figure, step_said
from workbench import registry

if TYPE_CHECKING:
    import pandas as pd


def training_tab(seen: Subject) -> None:
    """Ask, run over the checkpoints, and draw what they went through."""
    if sentence := registry.get("attention-sinks").why_not(seen.model):
        st.info(plain(sentence))
        return
    name, known = checkpoints_of(seen.loaded.name)
    if not known:
        st.info(none_said(seen.model.name), icon=":material/stacked_line_chart:")
        return
    steps = thinned(known)
    params: dict[str, Any] = {"prompt": seen.prompt, "steps": steps}
    few = "" if len(steps) == len(known) else f", {len(steps)} of which are looked at"
    with st.container(horizontal=True, vertical_alignment="center"):
        ran = run_button("trained", seen.loaded, params, model=name)
        st.caption(plain(f"{name}: {len(known)} checkpoints{few}; two forward passes for each."))
    if ran:
        _view(seen, _history(name, steps, seen.prompt), name)


@st.cache_resource
def _histories() -> "Cache[pd.DataFrame]":
    return Cache(max_items=16)


def _history(name: str, steps: tuple[int, ...], prompt: str) -> "pd.DataFrame":
    """One row for each step, kept or made now; one checkpoint is in memory at a time."""
    slot = st.empty()

    def make() -> "pd.DataFrame":
        with slot.container(), progress("Sinks over training", f"sinks history {name} {steps} {prompt!r}"):
            return history(name, steps, prompt)

    def waiting() -> None:
        slot.caption("Another window is computing the same …")

    try:
        return _histories().get_or_make((name, steps, prompt), make, waiting=waiting)
    finally:
        slot.empty()


def history(name: str, steps: tuple[int, ...], prompt: str) -> "pd.DataFrame":
    """Each step's sink at the token that is the last step's, its value and its state, and the largest number."""
    import pandas as pd

    import workbench

    at: int | None = None
    rows = []
    for step in workbench.track(steps[::-1], label="checkpoints"):
        model = workbench.load(name, checkpoint=str(step))
        sinks = workbench.attention_sinks(model, prompt, position=at)
        massive = workbench.massive_activations(model, prompt)
        at = sinks.position
        mass = sinks.mass[..., at]
        rows.append(
            {
                "step": step,
                "token": sinks.keys[at],
                "position": at,
                "largest mass": mass.max().item(),
                "mean mass": mass.mean().item(),
                "share of sink heads": sinks.share,
                "lowest value": sinks.value_ratio[..., at].min().item(),
                "median value": sinks.value_ratio[..., at].median().item(),
                "largest state": sinks.state_ratio[1:, at].max().item(),
                "largest number": massive.value[:, 0].abs().max().item(),
                "median number": massive.median[massive.layer].item(),
                "massive numbers": len(massive.massive),
            }
        )
    return pd.DataFrame(rows[::-1])


@st.fragment
@sentences
def _view(seen: Subject, frame: "pd.DataFrame", name: str) -> None:
    place = step_slider(frame["step"].tolist())
    row: Any = frame.iloc[place].to_dict()
    st.markdown(f"#### {plain(step_said(row))}")
    picture = state.linked(
        st.segmented_control,
        "Over the steps",
        "picture",
        "mass",
        read=state.one_of(PICTURES),
        options=list(PICTURES),
        format_func=PICTURES.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    st.plotly_chart(history_figure(frame, picture, place), theme="streamlit", key="sinks history")
    st.caption(plain(LINES[picture][1]))
    with st.container(horizontal=True):
        exports.exports(
            f"sinks-history-{seen.model.name}",
            figure=lambda: history_figure(frame, picture, place),
            frame=lambda: frame,
            key="sinks history files",
            python=_python(name, frame, seen.prompt),
        )
        step = int(frame["step"].iloc[place])
        look_into(name, step, seen.loaded.name, key="sinks:open", says=", and goes to its sinks", tab="sinks")
    st.dataframe(frame, hide_index=True, key="sinks history table")


def _python(name: str, frame: "pd.DataFrame", prompt: str) -> str:
    steps, at = frame["step"].tolist(), int(frame["position"].iloc[0])
    return (
        f"import workbench\n\nfor step in {steps}:\n    model = workbench.load({name!r}, checkpoint=str(step))\n"
        f"    sinks = workbench.attention_sinks(model, {prompt!r}, position={at})\n"
        f"    massive = workbench.massive_activations(model, {prompt!r})\n"
        "    print(step, sinks.share, massive.value.abs().max())"
    )
