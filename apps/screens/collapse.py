"""Collapse: whether all positions come to hold the same vector, and what paths through the heads carry the answer."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import asking, exports, results, state
from apps.generic import offer, remarks
from apps.running import sentences
from apps.subject import Subject, subject
from apps.text import plain
from apps.views import collapse_figures
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.collapse.path_result import PathDecomposition
    from workbench.analyses.collapse.rank_collapse_result import RankCollapse

CAVEAT = (
    "Runs without skip connections or MLPs are not the network that was trained: they show what these parts do, "
    "not what attention would learn without them."
)
NORMS = {"fro": "Frobenius", "1inf": "mixed (the paper's)"}
_DRAWS = 5  # single paths of each length


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Collapse",
        "How alike all positions become with depth: with skip connections and MLPs, and without.",
        warning=CAVEAT,
        analysis="rank-collapse",
    )
    if seen is None:
        return
    measure, asked, params = _asked(seen)
    left, right = st.columns([1.5, 1], gap="large")
    with left:
        _curves(seen, measure, asked, params)
    with right:
        _paths(seen)


def _asked(seen: Subject) -> tuple[str, str, dict[str, Any]]:
    """The measure, whose attention, and the parameters of the analysis."""
    measures, asked = collapse_figures.CHOICES, tuple(collapse_figures.ASKED)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measure = state.linked(
            st.selectbox,
            "Measure",
            "measure",
            measures[0],
            read=state.one_of(measures),
            options=measures,
            help="relative residual: what is left of the states without their mean, over their own size. "
            "effective rank: how many directions they use. mean cosine: of two different positions. "
            "attention entropy: in nats, mean over heads and queries.",
        )
        attention = state.linked(
            st.segmented_control,
            "Attention",
            "attention",
            asked[0],
            read=state.one_of(asked),
            options=asked,
            required=True,
            help="Without some parts attention can look at the states that there are then (recomputed), or be held as "
            "in the full network (frozen): two different experiments.",
        )
        norm = state.linked(
            st.selectbox,
            "Norm",
            "norm",
            "fro",
            read=state.one_of(tuple(NORMS)),
            options=tuple(NORMS),
            format_func=lambda name: NORMS[name],
            help="How the residual is measured. The mixed norm is the root of the largest column sum times the "
            "largest row sum.",
        )
        most = max(len(seen.tokens) - 2, 0)
        skip = state.linked(
            st.number_input,
            "Left out at the start",
            "skip",
            0,
            read=state.whole(0, most),
            min_value=0,
            max_value=most,
            help="The first position outgrows all others in many models.",
        )
    return measure, attention, {"prompt": seen.prompt, "norm": norm, "skip": skip}


def _curves(seen: Subject, measure: str, asked: str, params: dict[str, Any]) -> None:
    found: RankCollapse = results.result_of(seen.loaded, "rank-collapse", **params)
    st.markdown(f"#### {plain(collapse_figures.headline(found, measure, asked))}")
    st.plotly_chart(collapse_figures.curves(found, measure, asked), theme="streamlit", key="collapse curves")
    for note in found.notes:
        st.caption(f":material/info: {plain(note)}")
    analysis = registry.get("rank-collapse")
    offer(analysis, seen, found, params, figure=lambda: collapse_figures.curves(found, measure, asked))
    with st.expander("What this shows, and what it does not", icon=":material/menu_book:"):
        st.text(remarks(analysis))


@st.fragment
@sentences
def _paths(seen: Subject) -> None:
    """What paths of each length add to the answer."""
    st.markdown("#### The answer by heads passed")
    analysis = registry.get("path-decomposition")
    if sentence := analysis.why_not(seen.model):
        st.info(plain(sentence))
        return
    token = asking.answer("Answer", "Its logit is split up.") if "logits" in seen.model.capabilities else None
    params: dict[str, Any] = {"prompt": seen.prompt, "token": token, "draws": _DRAWS}
    found: PathDecomposition = results.result_of(seen.loaded, "path-decomposition", **params)
    st.plotly_chart(collapse_figures.lengths(found), theme="streamlit", key="collapse lengths")
    st.caption(plain(" ".join(filter(None, [found.note, collapse_figures.lengths_said(found)]))))
    table = collapse_figures.paths_table(found)
    drawn = "all" if found.exact else f"{len(found.values)} drawn at random"
    with st.expander(f"Single paths from the embedding, {drawn}", icon=":material/route:"):
        st.dataframe(table, hide_index=True)
    exports.exports(
        f"path-decomposition-{seen.model.name}",
        figure=lambda: collapse_figures.lengths(found),
        frame=found.to_frame,
        key="collapse paths",
        python=analysis.as_python(seen.loaded.name, params),
        command=analysis.as_command(seen.loaded.name, params),
    )
