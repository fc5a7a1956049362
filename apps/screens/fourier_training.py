"""Training: how the circuit of a few frequencies forms, over the checkpoints of the model, with a slider over them."""

from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from apps import exports, state
from apps.cache import Cache
from apps.checkpoints import STUDIES, checkpoints_of, look_into, none_said, step_slider, thinned
from apps.running import progress, sentences
from apps.screens.fourier_asked import Asked, run_button
from apps.screens.fourier_files import result_file, three_figures
from apps.screens.fourier_pairs import pairs_asked, trained_asked
from apps.subject import Subject
from apps.text import plain
from apps.views.fourier_history import PICTURES, Picture, at_step, history_figure, measured_frame, step_figure
from apps.views.fourier_measures import keys_said
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.fourier.progress_result import ProgressHistory

STUDY = STUDIES / "modular_addition" / "checkpoints" / "p59-wd1"


def training_tab(seen: Subject, asked: Asked) -> None:
    """Ask, run over the checkpoints, and draw what they went through."""
    if sentence := registry.get("progress-measures").why_not(seen.model):
        st.info(plain(sentence))
        return
    name, known = checkpoints_of(seen.loaded.name)
    if not known:
        st.info(none_said(seen.model.name), icon=":material/stacked_line_chart:")
        if STUDY.is_dir():
            st.button("Take the bundled study of modular addition", key="fourier:study", on_click=_study)
        return
    steps = thinned(known)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        params = {**pairs_asked(seen.loaded, asked), **trained_asked()}
        ran = run_button("trained", seen.loaded, {**params, "steps": steps}, model=name)
    few = "" if len(steps) == len(known) else f", {len(steps)} of which are looked at"
    n = len(asked.found)
    st.caption(plain(f"{name}: {len(known)} checkpoints{few}; {n * n:,} prompts of a forward pass each for every one."))
    if not ran:
        words = "Press Run to follow the key frequencies of the last checkpoint over training."
        st.info(words, icon=":material/play_arrow:")
        return
    _view(seen, _history(name, steps, params), name, params)


def _study() -> None:
    last = max(checkpoints_of(str(STUDY))[1])
    options = {"variable": "0-58", "pair": "{a} {b} =", "operation": None, "train": "0.4", "step": None}
    state.put(model=str(STUDY / f"checkpoint-{last}"), **options)


@st.cache_resource
def _histories() -> "Cache[ProgressHistory]":
    return Cache(max_items=8)


def _history(name: str, steps: tuple[int, ...], params: dict[str, Any]) -> "ProgressHistory":
    """The measures at all steps, kept or made now; one checkpoint is in memory at a time."""
    import workbench
    from workbench.analyses.fourier.progress_history import progress_history

    key = name, steps, repr(sorted(params.items()))
    slot = st.empty()

    def make() -> "ProgressHistory":
        with slot.container(), progress("Progress over training", f"history {key!r}"):
            return progress_history(steps, lambda step: workbench.load(name, checkpoint=str(step)), **params)

    def waiting() -> None:
        slot.caption("Another window is computing the same …")

    try:
        return _histories().get_or_make(key, make, waiting=waiting)
    finally:
        slot.empty()


@st.fragment
@sentences
def _view(seen: Subject, found: "ProgressHistory", name: str, params: dict[str, Any]) -> None:
    st.markdown(f"#### {plain(keys_said(found))}")
    place = step_slider(found.steps, found.unit)
    st.caption(plain(at_step(found, place)))
    picture = state.linked(
        st.segmented_control,
        "Over the steps",
        "picture",
        "loss",
        read=state.one_of(PICTURES),
        options=list(PICTURES),
        format_func=PICTURES.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    of = cast("Picture", picture)
    with st.container(key="fourier-sides"):
        wide, narrow = st.columns([1.5, 1], gap="large")
    with wide:
        st.plotly_chart(history_figure(found, of, place), theme="streamlit", key="fourier history")
        with st.container(horizontal=True):
            exports.exports(
                f"progress-history-{seen.model.name}",
                figure=lambda: found.figure(of=of),
                frame=found.to_frame,
                key="fourier history files",
                python=_python(found, name, params),
            )
            result_file(found, f"progress-history-{seen.model.name}")
    with narrow:
        st.plotly_chart(step_figure(found, place), theme="streamlit", key="fourier step")
        look_into(
            name,
            found.steps[place],
            seen.loaded.name,
            key="fourier:open",
            says=", and goes to its pairs",
            tab="pairs",
        )
        table = measured_frame(found, place)
        st.dataframe(
            table, hide_index=True, key="fourier history measures", height=300, column_config=three_figures(table)
        )


def _python(found: "ProgressHistory", name: str, params: dict[str, Any]) -> str:
    rest = "".join(f", {key}={value!r}" for key, value in params.items() if key != "variable")
    return (
        "import workbench\n\n"
        f"found = workbench.progress_history(\n    {list(found.steps)},\n"
        f"    lambda step: workbench.load({name!r}, checkpoint=str(step)),\n    {params['variable']!r}{rest},\n)"
    )
