"""All pairs of operands: which frequencies of both the logits are made of, and what is left with and without them."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state
from apps.models import Loaded
from apps.running import sentences
from apps.screens.fourier_asked import Asked, knows, run_button
from apps.screens.fourier_files import offer_all, three_figures
from apps.subject import Subject
from apps.text import plain
from apps.theme import is_dark
from apps.views.fourier_map import Words, fourier_map, pairs_panel
from apps.views.fourier_measures import control_said, keys_frame, keys_said, losses, others_frame
from workbench import registry

if TYPE_CHECKING:
    import pandas as pd

    from workbench.analyses.fourier.progress_result import ProgressMeasures

OPERATIONS = {"add": "a + b", "subtract": "a − b", "multiply": "a × b"}
_NAME = "progress-measures"


def pairs_asked(one: Loaded, asked: Asked) -> dict[str, Any]:
    """Draw what all analyses of pairs ask: the text, and what is done to the operands."""
    template = state.linked(
        st.text_input,
        "In the text",
        "pair",
        "{a} + {b} =" if knows(one.model, "+") else "{a} {b} =",
        read=str,
        help="Holds {a} and {b} once each; what comes next is the answer.",
        width=220,
    )
    operation = state.linked(
        st.selectbox,
        "Which is",
        "operation",
        "add",
        read=state.one_of(OPERATIONS),
        options=list(OPERATIONS),
        format_func=OPERATIONS.__getitem__,
        help=plain(f"Modulo the number of values, {len(asked.found)}. Products are ordered by the discrete logarithm."),
        width=110,
    )
    return {"variable": asked.variable, "template": template, "operation": operation}


def trained_asked() -> dict[str, Any]:
    """Draw what asks which pairs were trained on."""
    share = state.linked(
        st.number_input,
        "Trained on",
        "train",
        1.0,
        read=_share,
        min_value=0.0,
        max_value=1.0,
        step=0.05,
        help="The share of all pairs that the model was trained on, drawn as workbench.functional.train_pairs does: "
        "0.4 in the bundled study of modular addition. 1 where that is not known.",
        width=130,
    )
    return {"train_share": share, "train_seed": 0}


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) <= 1:
        raise ValueError(text)
    return share


def pairs_tab(seen: Subject, asked: Asked) -> None:
    """Ask, run, and draw the map with the tables beside it."""
    if sentence := registry.get(_NAME).why_not(seen.model):
        st.info(plain(sentence))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        params = {**pairs_asked(seen.loaded, asked), **trained_asked()}
        ran = run_button("paired", seen.loaded, params)
    if not ran:
        n = len(asked.found)
        st.caption(f"{n:,} values, so {n * n:,} prompts of a forward pass each.")
        st.info(
            "Press Run to see which pairs of frequencies the answers to all pairs are made of. "
            "A model that adds by waves has its power on the diagonal.",
            icon=":material/play_arrow:",
        )
        return
    found: ProgressMeasures = results.result_of(seen.loaded, _NAME, **params)
    _view(seen, found, asked, params)


@st.fragment
@sentences
def _view(seen: Subject, found: "ProgressMeasures", asked: Asked, params: dict[str, Any]) -> None:
    st.markdown(f"#### {plain(keys_said(found))}")
    with st.container(key="fourier-sides"):
        wide, narrow = st.columns([1.35, 1], gap="large")
    with wide:
        unit = "steps of the discrete logarithm" if found.operation == "multiply" else asked.found.unit
        fourier_map(
            [pairs_panel(found)],
            Words(
                row="a",
                column="b",
                under="period",
                unit=unit,
                value="share of the variance",
                mark="key frequency",
            ),
            square=True,
            key="fourier pairs",
            dark=is_dark(),
        )
        st.caption(
            plain(
                f"Of the variance of the logits over all {found.n**2:,} pairs. Row and column 0 are what does not "
                f"depend on a, or on b. Periods are in {unit}."
            )
        )
        offer_all(seen, registry.get(_NAME), found, params, figure=lambda: found.figure(of="pairs"))
    with narrow:
        for column, (label, value, help) in zip(st.columns(3), losses(found), strict=True):
            column.metric(label, value, help=plain(help))
        st.caption("Loss and restricted are over all pairs, excluded over those trained on.")
        st.caption(plain(control_said(found)))
        if found.key:
            st.markdown("**Key frequencies**")
            _table(keys_frame(found), "fourier keys")
            st.caption(
                "Shares of the variance of the logits, and of the power of the embedding and of the neurons' map."
            )
    st.markdown("**All measures**")
    _table(others_frame(found), "fourier measures")


def _table(frame: "pd.DataFrame", key: str) -> None:
    height = min(320, 38 + 35 * len(frame))
    st.dataframe(frame, hide_index=True, key=key, height=height, column_config=three_figures(frame))
