"""Which answers change without some frequencies in what attention and MLPs write, beside random filters."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state
from apps.running import sentences
from apps.screens.circuit_asked import fingerprint, task
from apps.screens.fourier_asked import Asked, run_button
from apps.screens.fourier_files import offer_all, three_figures
from apps.screens.fourier_fits import OWN, TASKS, fitting, too_long
from apps.subject import Subject
from apps.text import plain
from apps.views.fourier_filtered import MEASURES, answers, counted, errors_frame, headline
from workbench import registry
from workbench.errors import NotDone, WorkbenchError

if TYPE_CHECKING:
    from workbench.analyses.fourier.filter_result import FourierFilter

REMOVE = {
    "halves": "low, and high",
    "one": "one frequency",
    "others": "all but one frequency",
}
_NAME = "fourier-filter"


def filter_tab(seen: Subject, asked: Asked) -> None:
    """Ask for the task and what is taken out; run; and show what changes."""
    if sentence := registry.get(_NAME).why_not(seen.model):
        st.info(plain(sentence))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        params = _asked(asked)
        ran = run_button("filtered", seen.loaded, params)
    if not ran:
        _before(seen, asked, params)
        return
    found = _found(seen, params)
    if found is not None:
        _view(seen, found, params)


def _found(seen: Subject, params: dict[str, Any]) -> "FourierFilter | None":
    """The result; where the model does not do the task, the sentence that says so and the way on."""
    try:
        return results.result_of(seen.loaded, _NAME, **params)
    except WorkbenchError as error:
        if too_long(str(error)):
            st.error(plain(f"The prompts of {params['task']} are longer than {seen.model.name} reads. {OWN}"))
            return None
        if not isinstance(error, NotDone):
            raise
        st.error(plain(error))
        mark = fingerprint(seen.loaded.name, {**params, "anyway": True})
        st.button(
            "Go on all the same",
            icon=":material/play_arrow:",
            key="fourier:anyway",
            on_click=lambda: state.put(anyway="yes", filtered=mark),
        )
        return None


def _asked(asked: Asked) -> dict[str, Any]:
    params: dict[str, Any] = {"variable": asked.variable, "task": task("Task", "task", "addition")}
    remove = state.linked(
        st.selectbox,
        "Take out",
        "remove",
        "halves",
        read=state.one_of(REMOVE),
        options=list(REMOVE),
        format_func=REMOVE.__getitem__,
        width=200,
    )
    if remove == "halves":
        params["remove"] = ("low", "high")
        high = max(1, asked.most() - 1)
        params["cut"] = _whole("Low up to", "cut", min(max(1, len(asked.found) // 4), high), high)
    else:
        params["remove"] = ("band",) if remove == "one" else ("all-but",)
        params["frequencies"] = (_whole("Frequency", "frequency", 1, asked.most()),)
    params["examples"] = _whole("Examples", "examples", 24, 1000)
    with st.popover("More", icon=":material/tune:", help="Settings that are seldom changed."):
        params["draws"] = _whole("Random filters of each kind", "draws", 2, 50, low=0)
        params["each_layer"] = _switch("One layer at a time", "each", "Instead of all layers together: many more runs.")
        params["everywhere"] = _switch("At every position", "everywhere", "Not only where the answer is read.")
        params["anyway"] = _switch("Even if the model cannot do the task", "anyway", "")
    return params


def _whole(label: str, option: str, default: int, high: int, low: int = 1) -> int:
    return state.linked(
        st.number_input,
        label,
        option,
        default,
        read=state.whole(low, high),
        min_value=low,
        max_value=high,
        step=1,
        width=130,
    )


def _switch(label: str, option: str, help: str) -> bool:
    return state.linked(st.toggle, label, option, False, read=state.switch, write=state.yes_no, help=help or None)


def _cost(seen: Subject, params: dict[str, Any]) -> str:
    """What a run costs."""
    places = 3 * (seen.model.n_blocks if params["each_layer"] else 1)
    filters = len(params["remove"]) * (1 + 2 * params["draws"])
    return (
        f"About {places * filters + 3:,} forward passes of {params['examples']} examples: {places} places, {filters} "
        "filters each, most of them random ones that take out as much; three to see what the model does without one."
    )


def _before(seen: Subject, asked: Asked, params: dict[str, Any]) -> None:
    """What a run is, before it is one."""
    st.caption(_cost(seen, params))
    st.info(
        "Press Run to see which answers change when waves over the variable's values are taken out of what attention "
        "and MLPs write into the logits. The answers of the task must be values of the variable.",
        icon=":material/play_arrow:",
    )
    task, why_not = fitting(asked, seen.model)
    if why_not:
        st.caption(plain(why_not))
    elif params["task"] in TASKS and task != params["task"]:
        said = f"The answers of {task} are values of {asked.found.name}; those of {params['task']} may be none."
        st.caption(plain(said))
        st.button(f"Take {task}", key="fourier:task", on_click=lambda: state.put(task=task))


@st.fragment
@sentences
def _view(seen: Subject, found: "FourierFilter", params: dict[str, Any]) -> None:
    st.markdown(f"#### {plain(headline(found))}")
    for sentence in found.said:
        st.caption(f":material/info: {plain(sentence)}")
    measure = state.linked(
        st.segmented_control,
        "Show",
        "measure",
        "accuracy",
        read=state.one_of(MEASURES),
        options=list(MEASURES),
        format_func=MEASURES.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    st.plotly_chart(found.figure(measure=measure), theme="streamlit", key="fourier filter figure")
    st.caption(
        "Points are random filters of equal rank: as many waves drawn at random, and as many directions of any kind. "
        "What a filter does that they do too, taking out that much does by itself. Accuracy is how often the right "
        "answer is first among the values; whether the model does the task at all is asked more gently, by whether the "
        "right answer is ahead of the wrong one."
    )
    offered_files(seen, found, params, measure)
    st.markdown("**Answers before and after**")
    st.caption(plain(counted(found)))
    if found.prompts:
        st.dataframe(answers(found), hide_index=True, key="fourier answers")
    st.markdown("**What goes wrong**")
    st.caption("Shares are of the wrong answers; where there are none they are empty.")
    table = errors_frame(found)
    st.dataframe(table, hide_index=True, key="fourier errors", column_config=three_figures(table))


def offered_files(seen: Subject, found: "FourierFilter", params: dict[str, Any], measure: str) -> None:
    """Exports of what is on the screen."""
    offer_all(seen, registry.get(_NAME), found, params, figure=lambda: found.figure(measure=measure))
