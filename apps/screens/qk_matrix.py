"""QK matrix: queries and keys of every head in one small picture each; a click locks a head, a button opens it."""

from collections import OrderedDict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import streamlit as st

from apps import results, state
from apps.generic import offer
from apps.locking import head_table, lock_clicked, locked_head
from apps.running import sentences
from apps.screens.qk_asked import METHODS, Asked, asked
from apps.subject import Subject, of_many
from apps.text import plain
from apps.theme import is_dark
from apps.views import qk_matrix as view
from apps.views.grid import PLACES, Layout, by_score, in_place, tile_grid
from apps.views.qk_colours import legend
from apps.views.qk_matrix_figure import matrix_figure
from workbench import registry

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

    from workbench.analyses.embedding.colourings import Colouring
    from workbench.analyses.embedding.joint_matrix import JointMatrix

ANALYSIS = "joint-qk-matrix"
CAVEAT = (
    "Near means attended to as far as the correlation under a picture says (−1 is perfect), and as far as the picture "
    "keeps distances."
)
_GRID = "qk grid"
_clicked = partial(lock_clicked, _GRID)
_SHOWN = ("both", "queries", "keys")
_WIDE = 12  # heads across that are still well seen
_KEPT = 4  # looks of a result whose pictures are kept
_SAME = ("colour", "modulo", "show", "find", "exact")
"""Options that the page of one head understands too."""
_made: "WeakKeyDictionary[JointMatrix, OrderedDict[view.Look, view.Drawn]]" = WeakKeyDictionary()


def page() -> None:
    """Draw the page."""
    top = of_many(
        "QK matrix",
        "Queries and keys of every head in one space, over many inputs: what is near is attended to.",
        asked,
        warning=CAVEAT,
        analysis=ANALYSIS,
    )
    if top is None:
        return
    seen, what = top
    _view(seen, results.result_of(seen.loaded, ANALYSIS, **what.params), what)


@st.fragment
@sentences
def _view(seen: Subject, found: "JointMatrix", what: Asked) -> None:
    from workbench.analyses.embedding.colourings import colourings

    colours = colourings(found, state.fitting("modulo", found.modulo, state.whole(2, 100)))
    scores = view.scores_of(found)
    look = _look(found, list(colours))
    one = _drawn(found, colours[look.colour], look)
    layers, heads = found.scores.shape[:2]
    locked = locked_head(layers, heads)

    with st.container(key="qk-sides"):
        wide, narrow = st.columns([3.7, 1.2], gap="medium")
    with narrow:
        sort, lowest = _sorting(found, list(scores), look.colour)
        legend(one.paint, key="qk legend")
        _card(locked, found, one, look)
    with wide:
        _searched(one, look, found)
        layout = _layout(layers, heads, scores, sort, lowest)
        below = "correlation" if sort == PLACES else sort
        under = view.under(found, scores[below])
        tile_grid(
            one.sheet,
            heads,
            layout,
            {view.named(name, found.modulo): values for name, values in scores.items()},
            key=_GRID,
            locked=locked,
            tile=max(96, min(160, 720 // layout.columns)),
            smooth=True,
            under=under,
            on_click=_clicked,
        )
        st.caption(
            f"Under each picture: {plain(view.named(below, found.modulo))}. "
            + view.said(found, METHODS[found.method], what.noun, what.params)
        )
        _left_out(found)

        def figure() -> "go.Figure":
            light = _drawn(found, colours[look.colour], replace(look, dark=False))
            title = f"{seen.model.name}: queries and keys, {METHODS[found.method]}"
            return matrix_figure(light, layout, heads, under, title=title)

        offer(registry.get(ANALYSIS), seen, found, what.params, figure=figure)
        _table(found, sort, lowest, locked)


def _look(found: "JointMatrix", colours: list[str]) -> view.Look:
    """How the points are drawn."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        colour = state.linked(
            st.selectbox,
            "Colour by",
            "colour",
            colours[0],
            read=state.one_of(colours),
            options=colours,
            format_func=lambda name: "position modulo n" if name == "position mod" else name,
            width=190,
        )
        modulo = found.modulo
        if colour == "position mod":
            modulo = state.linked(
                st.number_input,
                "n",
                "modulo",
                found.modulo,
                read=state.whole(2, 100),
                min_value=2,
                max_value=100,
                step=1,
                width=110,
            )
        show = state.linked(
            st.segmented_control,
            "Points",
            "show",
            "both",
            read=state.one_of(_SHOWN),
            options=list(_SHOWN),
            required=True,
        )
        find = state.linked(
            st.text_input,
            "Search",
            "find",
            "",
            read=str,
            placeholder="a token, in every head" if found.reads == "text" else "a patch, such as 3,4",
            help="Marks it in every head at once. Upper and lower case are one.",
            width=230,
        )
        exact = state.linked(
            st.toggle, "Whole token", "exact", False, read=state.switch, write=state.yes_no, disabled=not find
        )
    return view.Look(colour=colour, modulo=modulo, show=show, find=find, exact=exact, dark=is_dark())


def _sorting(found: "JointMatrix", scores: list[str], colour: str) -> tuple[str, bool]:
    """The score that heads are in the order of, that of the colour among the first, and which end comes first."""
    first = [name for name in ("correlation", "norm gap", f"{view.CLUSTER}{colour}") if name in scores]
    sort = state.linked(
        st.selectbox,
        "Order by",
        "sort",
        PLACES,
        read=state.one_of((PLACES, *scores)),
        options=[PLACES, *first, *(name for name in scores if name not in first)],
        format_func=lambda name: "layer and head" if name == PLACES else view.named(name, found.modulo),
        help="; ".join(f"{view.named(name, found.modulo)}: {view.meaning(name, found.modulo)}" for name in scores),
    )
    if sort == PLACES:
        return sort, False
    return sort, state.linked(st.toggle, "Lowest first", "lowest", False, read=state.switch, write=state.yes_no)


def _layout(layers: int, heads: int, scores: "dict[str, np.ndarray]", sort: str, lowest: bool) -> Layout:
    if sort == PLACES:
        return in_place(layers, heads, across=layers < heads and heads > _WIDE)
    return by_score(scores[sort], lowest_first=lowest, columns=8)


def _drawn(found: "JointMatrix", colouring: "Colouring", look: view.Look) -> view.Drawn:
    """The pictures; the last ones are kept, for clicks and orders that leave them as they are."""
    kept = _made.setdefault(found, OrderedDict())
    if look not in kept:
        kept[look] = view.drawn(found, colouring, look)
        while len(kept) > _KEPT:
            kept.popitem(last=False)
    return kept[look]


def _searched(one: view.Drawn, look: view.Look, found: "JointMatrix") -> None:
    if one.found is None:
        return
    if one.found.any():
        st.caption(f":material/search: **{plain(look.find)}**: {plain(view.count_of(one.found, found))}.")
    else:
        kind = "is" if look.exact else "holds"
        st.info(plain(f"No token of this sample {kind} “{look.find.strip()}”."), icon=":material/search_off:")


def _left_out(found: "JointMatrix") -> None:
    if skipped := view.left_out(found):
        st.warning(skipped, icon=":material/block:")
    for note in found.notes:
        st.caption(f":material/info: {plain(note)}")


def _card(locked: str, found: "JointMatrix", one: view.Drawn, look: view.Look) -> None:
    if not locked:
        st.info("Click a picture to lock a head.", icon=":material/ads_click:")
        return
    layer, head = map(int, locked.split("."))
    with st.container(border=True, key="qk-card"):
        st.markdown(f"**Layer {layer}, head {head}**")
        if found.n_kv_heads < found.scores.shape[1]:
            st.caption(f"asks key-value head {head // (found.scores.shape[1] // found.n_kv_heads)}")
        if why := next((text for *at, text in found.skipped if at == [layer, head]), ""):
            st.warning(plain(f"Skipped: {why}."), icon=":material/block:")
        else:
            st.image(view.picture(found, one, look, layer, head), width="stretch")
        if st.button("Open head", type="primary", icon=":material/scatter_plot:", width="stretch"):
            same = {name: state.get(name) for name in _SAME}
            state.go("qk_head", layer=str(layer), head=str(head), **same)
        st.html(view.numbers(found, layer, head))


def _table(found: "JointMatrix", sort: str, lowest: bool, locked: str) -> None:
    frame = view.table(found)

    def column(name: str) -> Any:
        return st.column_config.NumberColumn(
            view.named(name, found.modulo), format="%.2f", help=view.meaning(name, found.modulo)
        )

    columns = {name: column(name) for name in frame.columns if name not in ("head", "skipped")}
    by = None if sort == PLACES else sort
    head_table(frame, columns, by=by, lowest=lowest, locked=locked, grid=_GRID)
