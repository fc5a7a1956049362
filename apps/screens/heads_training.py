"""The scores of heads over the checkpoints of a training, with a slider over them."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports, state
from apps.cache import Cache
from apps.checkpoints import checkpoints_of, look_into, step_slider, thinned
from apps.running import progress
from apps.subject import Subject
from apps.text import plain
from apps.views import heads as view

if TYPE_CHECKING:
    from workbench.analyses.heads.head_scores_result import HeadScores


@st.cache_resource
def _kept() -> "Cache[tuple[HeadScores, ...]]":
    return Cache(max_items=8)


def at_step(seen: Subject, params: dict[str, Any]) -> "HeadScores | None":
    """The scores at the chosen checkpoint; None where the model has none, or its training is not asked for."""
    name, known = checkpoints_of(seen.loaded.name)
    if not known:
        return None
    steps = thinned(known)
    on = state.linked(
        st.toggle,
        f"Follow its {len(steps)} checkpoints",
        "trained",
        False,
        read=state.switch,
        write=state.yes_no,
        help="Scores every checkpoint of this model's training; the slider then says which one the page shows. The "
        "last may be earlier than the weights that the page shows without.",
    )
    if not on:
        return None
    each = _scores(name, steps, params)
    place = step_slider(steps)
    left, right = st.columns(2, gap="medium")
    best, losses = view.best_over(steps, each), view.losses_over(steps, each)
    with left:
        figure = view.over_figure(best, "score", "best head", steps[place])
        st.plotly_chart(figure, theme="streamlit", key="heads history")
    with right:
        if len(losses):
            figure = view.over_figure(losses, "loss", "copy", steps[place])
            st.plotly_chart(figure, theme="streamlit", key="heads history losses")
    st.caption(
        plain("Left: the highest score of any head, by class, over the steps of training. Right: mean loss (nats).")
    )
    with st.container(horizontal=True):
        exports.exports(
            f"head-scores-history-{seen.model.name}",
            figure=lambda: view.over_figure(best, "score", "best head", steps[place]),
            frame=lambda: _frame(steps, each),
            key="heads history files",
            python=_python(name, steps, params),
        )
        look_into(name, steps[place], seen.loaded.name, key="heads:open", trained="no")
    return each[place]


def _scores(name: str, steps: tuple[int, ...], params: dict[str, Any]) -> "tuple[HeadScores, ...]":
    """The scores at all steps, kept or made now; one checkpoint is in memory at a time."""
    import workbench

    key = name, steps, repr(sorted(params.items()))
    slot = st.empty()

    def make() -> "tuple[HeadScores, ...]":
        with slot.container(), progress("Scores over training", f"heads {key!r}"):
            loaded = (workbench.load(name, checkpoint=str(step)) for step in steps)
            return tuple(workbench.head_scores(model, **params) for model in loaded)

    def waiting() -> None:
        slot.caption("Another window is computing the same …")

    try:
        return _kept().get_or_make(key, make, waiting=waiting)
    finally:
        slot.empty()


def _frame(steps: tuple[int, ...], each: "tuple[HeadScores, ...]") -> Any:
    import pandas as pd

    return pd.concat([one.to_frame().assign(step=step) for step, one in zip(steps, each, strict=True)])


def _python(name: str, steps: tuple[int, ...], params: dict[str, Any]) -> str:
    options = "".join(f", {key}={value!r}" for key, value in params.items())
    return (
        "import workbench\n\n"
        f"found = {{\n    step: workbench.head_scores(workbench.load({name!r}, checkpoint=str(step)){options})\n"
        f"    for step in {list(steps)}\n}}"
    )
