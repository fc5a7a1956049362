"""Neurons by frequency: of how many waves each MLP neuron of a layer is made, and what is left as they are removed."""

from typing import TYPE_CHECKING, Any, Literal, cast

import streamlit as st

from apps import results, state
from apps.running import sentences
from apps.screens.fourier_asked import Asked, run_button, template_asked
from apps.screens.fourier_files import offer_all
from apps.screens.fourier_pairs import pairs_asked
from apps.subject import Subject
from apps.text import plain
from apps.views.fourier_neurons import neurons_frame, neurons_said, thin_ticks
from workbench import registry

if TYPE_CHECKING:
    import pandas as pd

    from workbench.analyses.fourier.neuron_pruning import NeuronPruning
    from workbench.analyses.fourier.neuron_spectrum import NeuronSpectrum

OVER = {"pairs": "all pairs", "values": "single values"}
SHOW = {"frequencies": "Neurons by frequency", "shares": "Shares from high to low"}
SCORES = {
    "share": "share in one frequency",
    "ipr": "inverse participation ratio",
    "norm": "norm",
}
_SPECTRUM, _PRUNING = "neuron-spectrum", "neuron-pruning"


def neurons_tab(seen: Subject, asked: Asked) -> None:
    """Ask, run, and draw how many neurons each frequency has."""
    if sentence := registry.get(_SPECTRUM).why_not(seen.model):
        st.info(plain(sentence))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        params = _asked(seen, asked)
        ran = run_button("neurons", seen.loaded, params)
    if not ran:
        count = len(asked.found) ** (2 if "operation" in params else 1)
        st.caption(f"{count:,} prompts of a forward pass each.")
        st.info(
            "Press Run to see which frequency each neuron of a layer follows, and how much of it one frequency "
            "explains, beside the same neurons with the values in random order.",
            icon=":material/play_arrow:",
        )
        return
    found: NeuronSpectrum = results.result_of(seen.loaded, _SPECTRUM, **params)
    _view(seen, found, params)


def _asked(seen: Subject, asked: Asked) -> dict[str, Any]:
    over = state.linked(
        st.selectbox,
        "Over",
        "over",
        "pairs",
        read=state.one_of(OVER),
        options=list(OVER),
        format_func=OVER.__getitem__,
        width=160,
    )
    if over == "pairs":
        params = pairs_asked(seen.loaded, asked)
    else:
        text = template_asked(asked, seen.model)
        params = {"variable": asked.variable, "template": text.get("template", "{}")}
    last = next(stack for stack in seen.model.stacks if stack.side == "input").n_blocks - 1
    params["layer"] = state.linked(
        st.number_input,
        f"Layer (0 to {last})",
        "layer",
        last,
        read=state.whole(0, last),
        min_value=0,
        max_value=last,
        step=1,
        width=130,
    )
    return params


@st.fragment
@sentences
def _view(seen: Subject, found: "NeuronSpectrum", params: dict[str, Any]) -> None:
    st.markdown(f"#### {plain(neurons_said(found))}")
    with st.container(key="fourier-sides"):
        wide, narrow = st.columns([1.35, 1], gap="large")
    with wide:
        show = state.linked(
            st.segmented_control,
            "Show",
            "show",
            "frequencies",
            read=state.one_of(SHOW),
            options=list(SHOW),
            format_func=SHOW.__getitem__,
            required=True,
            label_visibility="collapsed",
        )
        of = cast("Literal['frequencies', 'shares']", show)
        figure = thin_ticks(found.figure(of=of), found.n // 2 if show == "frequencies" else 0)
        figure.for_each_trace(lambda one: one.update(name=_in_words(one.name or "")))
        st.plotly_chart(figure.update_layout(title=None), theme="streamlit", key="fourier neurons figure")
        offer_all(seen, registry.get(_SPECTRUM), found, params, figure=lambda: found.figure(of=of))
    with narrow:
        st.caption(
            "Each neuron's best frequency, and the share of its variance in that alone; shuffled is the best share "
            "with the values in random order. Dead neurons hold the same for all and come last."
        )
        table = neurons_frame(found)
        share = st.column_config.ProgressColumn(format="%.2f", min_value=0, max_value=1, width=90)
        st.dataframe(
            table,
            hide_index=True,
            key="fourier neurons table",
            height=420,
            column_config={name: _narrow(name, table) for name in map(str, table)} | {"share": share},
        )
    if "operation" in params:
        _pruning(seen, params)


def _in_words(name: str) -> str:
    """A name of the legend; "to 0.85" is a share."""
    return name.lower().replace("to ", "share up to ") if name.lower().startswith("to ") else name


def _narrow(name: str, table: "pd.DataFrame") -> Any:
    """A column no wider than its name, so that all seven stand beside the chart."""
    of_floats = table[name].dtype.kind == "f"
    return st.column_config.NumberColumn(format="%.3g" if of_floats else None, width=22 + 7 * len(name))


@sentences
def _pruning(seen: Subject, params: dict[str, Any]) -> None:
    """What is left of the answers to all pairs as neurons are removed by a score, from either end, or at random."""
    st.markdown("**Remove neurons**")
    if sentence := registry.get(_PRUNING).why_not(seen.model):
        st.caption(plain(sentence))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        score = state.linked(
            st.selectbox,
            "By their",
            "score",
            "share",
            read=state.one_of(SCORES),
            options=list(SCORES),
            format_func=SCORES.__getitem__,
            width=260,
        )
        asked = {**params, "score": score}
        ran = run_button("pruned", seen.loaded, asked, "Remove")
    if not ran:
        st.caption("Eleven shares of the neurons, from the lowest score up, the highest down, and three random orders.")
        return
    found: NeuronPruning = results.result_of(seen.loaded, _PRUNING, **asked)
    left, right = st.columns(2, gap="large")
    for side, of in ((left, "accuracy"), (right, "loss")):
        side.markdown(f"**{of.capitalize()} without neurons**")
        picture = found.figure(of=cast("Literal['accuracy', 'loss']", of)).update_layout(title=None)
        picture.update_xaxes(title="share of neurons removed")
        side.plotly_chart(picture, theme="streamlit", key=f"fourier pruned {of}")
    offer_all(seen, registry.get(_PRUNING), found, asked)
