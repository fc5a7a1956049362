"""Heads: what every attention head does, by its scores; thresholds make classes; a slider over checkpoints."""

from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state
from apps.generic import offer
from apps.locking import head_table, lock_clicked, locked_head
from apps.models import Loaded
from apps.running import sentences
from apps.screens.heads_asked import asked, thresholds
from apps.screens.heads_training import at_step
from apps.subject import Subject, of_many
from apps.text import plain
from apps.theme import is_dark
from apps.views import heads as view
from apps.views.grid import PLACES, Layout, by_score, in_place
from workbench import registry
from workbench.analyses.heads.head_scores_result import CLASSES, SCORES

if TYPE_CHECKING:
    from workbench.analyses.heads.head_scores_result import HeadScores

ANALYSIS = "head-scores"
CAVEAT = (
    "Scores are of random tokens that repeat; a head may do other things on text. What a head looks at is not yet what"
    " it moves."
)
ALL = "all"
_GRID = "heads grid"
_clicked = partial(lock_clicked, _GRID)
_ORDERS = {PLACES: "layer and head", "score": "the score"}
_DEEP = 1.6  # layers per head from which layers go across


def page() -> None:
    """Draw the page."""
    top = of_many(
        "Heads",
        "What each attention head does on random tokens that repeat, and whether it copies what it looks at.",
        _ask,
        warning=CAVEAT,
        analysis=ANALYSIS,
    )
    if top is None:
        return
    seen, params = top
    found = at_step(seen, params)
    if found is None:
        found = results.result_of(seen.loaded, ANALYSIS, **params)
        _view(seen, found, params, offered=True)
    else:
        _view(seen, found, params, offered=False)


def _ask(one: Loaded) -> dict[str, Any]:
    return asked(one.model)


@st.fragment
@sentences
def _view(seen: Subject, found: "HeadScores", params: dict[str, Any], *, offered: bool) -> None:
    limits = thresholds(found)
    members = {name: kind.flatten().tolist() for name, kind in found.members(limits).items()}
    shown = _class(members)
    score, sort, lowest = _look(found, shown)
    within = members[shown] if shown != ALL else [True] * len(members["none"])
    layers, heads = found.scores.shape[:2]
    locked = locked_head(layers, heads)
    layer, head = map(int, (locked or _first(found, score, within)).split("."))
    dark = is_dark()
    colours = view.scale_of(found, score, dark=dark)
    with st.container(key="qk-sides"):
        wide, narrow = st.columns([3.4, 1.3], gap="medium")
    with narrow:
        _card(found, members, layer, head, chosen=bool(locked))
    with wide:
        view.score_map(
            found,
            score,
            _layout(found, score, sort, lowest),
            colours,
            within=within,
            locked=locked,
            dark=dark,
            key=_GRID,
            on_click=_clicked,
        )
        st.caption(_below(found, score, shown, colours.low, colours.high))
        if offered:
            given = {**params, **{_param(name): limit for name, limit in limits.items()}}
            offer(registry.get(ANALYSIS), seen, found, given, figure=lambda: found.figure(score))
        for note in found.notes:
            st.caption(f":material/info: {plain(note)}")
        _losses(found)
    frame: Any = view.table(found, limits)
    columns = {
        name: st.column_config.NumberColumn(view.NAMES[name], format="%.3f", help=SCORES[name])
        for name in view.NAMES
        if name in frame
    }
    rows = frame[within].reset_index(drop=True)
    at = locked if locked in rows["head"].tolist() else ""
    by = None if sort == PLACES else score
    if len(rows):
        head_table(rows, columns, by=by, lowest=lowest, locked=at, grid=_GRID)
    else:
        st.info("No head is of this class at this threshold. Lower it, or choose another class.")


def _param(name: str) -> str:
    """The parameter of the analysis that a class's threshold is."""
    words = ("induction", "previous", "duplicate", "own", "sink", "copies")
    return dict(zip(CLASSES, words, strict=True))[name]


def _class(members: dict[str, list[bool]]) -> str:
    """The class that is shown, each with how many heads it has."""
    counts = {ALL: len(members["none"]), **{name: sum(kind) for name, kind in members.items()}}
    return state.linked(
        st.segmented_control,
        "Class",
        "class",
        ALL,
        read=state.one_of(counts),
        options=list(counts),
        format_func=lambda name: f"{name} ({counts[name]})",
        required=True,
        label_visibility="collapsed",
    )


def _look(found: "HeadScores", shown: str) -> tuple[str, str, bool]:
    """Which score, and in which order."""
    names = [name for name in view.NAMES if name in found.score_names]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        score = state.linked(
            st.selectbox,
            "Score",
            "score",
            CLASSES.get(shown, names[0]),
            read=state.one_of(names),
            options=names,
            format_func=view.NAMES.__getitem__,
            width=260,
            help="; ".join(f"{view.NAMES[name]}: {SCORES[name]}" for name in names),
        )
        sort = state.linked(
            st.segmented_control, "Order by", "sort", PLACES, read=state.one_of(_ORDERS), options=list(_ORDERS),
            format_func=_ORDERS.__getitem__, required=True,
        )  # fmt: skip
        lowest = state.linked(
            st.toggle, "Lowest first", "lowest", False, read=state.switch, write=state.yes_no, disabled=sort == PLACES
        )
    return score, sort, lowest


def _layout(found: "HeadScores", score: str, sort: str, lowest: bool) -> Layout:
    layers, heads = found.scores.shape[:2]
    if sort != PLACES:
        return by_score(found.score(score).numpy(), lowest_first=lowest, columns=20)
    return in_place(layers, heads, across=layers > _DEEP * heads)


def _first(found: "HeadScores", score: str, within: list[bool]) -> str:
    """The head that is shown until one is locked: the highest of those that are shown."""
    import numpy as np

    values = np.nan_to_num(found.score(score).numpy().reshape(-1), nan=-np.inf)
    values = np.where(within, values, -np.inf) if any(within) else values
    layer, head = divmod(int(values.argmax()), found.scores.shape[1])
    return f"{layer}.{head}"


def _below(found: "HeadScores", score: str, shown: str, low: float, high: float) -> str:
    chance = float(found.chance[found.score_names.index(score)])
    said = f"Each square is a head of {found.attention}: {SCORES[score]}, {low:.3g} to {high:.3g}."
    said += f" Chance: {chance:.3g}." if chance == chance else ""
    said += f" Heads that are not {shown} are faded." if shown != ALL else ""
    return plain(said)


def _card(found: "HeadScores", members: dict[str, list[bool]], layer: int, head: int, *, chosen: bool) -> None:
    """The head's classes and scores, and where to go from here."""
    if not chosen:
        st.info("This head is highest. Click another to lock it.", icon=":material/ads_click:")
    with st.container(border=True, key="qk-card"):
        st.markdown(f"**Layer {layer}, head {head}**")
        classes = [name for name, kind in members.items() if kind[layer * found.scores.shape[1] + head]]
        st.caption(plain(", ".join(classes)))
        where = {"layer": str(layer), "head": str(head), "attention": found.attention}
        if st.button("Open head", type="primary", icon=":material/center_focus_strong:", width="stretch"):
            state.go("head", **where)
        if st.button("Queries and keys", icon=":material/scatter_plot:", width="stretch"):
            state.go("qk_head", **where)
        st.html(view.numbers(found, layer, head))


def _losses(found: "HeadScores") -> None:
    if found.losses.isnan().all():
        return
    st.markdown("##### What the context is worth")
    st.plotly_chart(view.losses_figure(found), theme="streamlit", key="heads losses")
    st.caption(
        plain(
            f"Mean loss on the token at each position; dotted lines begin a copy. The last copy is "
            f"{found.in_context_score:+.2f} nats off the first: below 0, the model uses its context."
        )
    )
