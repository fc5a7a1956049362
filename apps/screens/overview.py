"""Attention overview: all heads of a model at once, in place or sorted; a click locks one, a button opens it."""

from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import streamlit as st

from apps import results, state
from apps.generic import offer
from apps.locking import head_table, lock_clicked, locked_head
from apps.running import sentences
from apps.subject import Subject, subject
from apps.theme import is_dark
from apps.views.grid import PLACES, by_score, head_grid, in_place
from apps.views.sprite import picture_size

if TYPE_CHECKING:
    import numpy as np

    from workbench.analyses.attention.attention import Attention

CAVEAT = (
    "Attention shows where a head reads, not what that does: it is no explanation by itself. "
    "Open a head for what it moves, and ablate it to see what depends on it."
)
MEANING = {
    "entropy": "entropy (nats): low looks at few tokens, high at many",
    "distance": "mean distance looked back, in positions",
    "first": "attention on the first token",
    "previous": "attention on the token just before",
    "self": "attention on the token itself",
}
_made: "WeakKeyDictionary[Attention, np.ndarray]" = WeakKeyDictionary()
_GRID = "overview grid"
_clicked = partial(lock_clicked, _GRID)
_DEEP = 1.6  # layers per head from which layers go across


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Attention overview",
        "Every head of the model on this prompt, one small picture each.",
        warning=CAVEAT,
        analysis="attention",
    )
    if seen is None:
        return
    attention = _attention(seen)
    params = {"prompt": seen.prompt, "attention": attention, "skip_first": True}
    found = results.result_of(seen.loaded, "attention", **params)
    _view(seen, found, params)


def _attention(seen: Subject) -> str | None:
    names = list(seen.model.attentions)
    if len(names) < 2:
        return None
    return state.linked(
        st.segmented_control, "Attention", "attention", names[0], read=state.one_of(names), options=names, required=True
    )


@st.fragment
@sentences
def _view(seen: Subject, found: "Attention", params: dict) -> None:
    names = [name for name in found.score_names if name in MEANING]
    sort, lowest = _sorting(names)
    scores = {name: found.scores[..., found.score_names.index(name)].numpy() for name in names}
    layers, heads = found.scores.shape[:2]
    if sort == PLACES:
        layout = in_place(layers, heads, across=layers > _DEEP * heads)
    else:
        layout = by_score(scores[sort], lowest_first=lowest)
    pictures = _pictures(found)
    locked = locked_head(layers, heads)

    with st.container(key="overview-sides"):
        wide, narrow = st.columns([4.2, 1], gap="medium")
    with wide:
        head_grid(pictures, layout, scores, key=_GRID, locked=locked, dark=is_dark(), on_click=_clicked)
        st.caption(
            f"Rows of a picture are queries, columns keys. Each pixel is the largest weight of its block, on a "
            f"square-root scale. {len(found.queries)} tokens; the first query is left out of the scores."
        )
        offer(_registered(), seen, found, params)
        _table(found, scores, sort, lowest, locked)
    with narrow:
        _card(locked, found, scores)


def _pictures(found: "Attention") -> "np.ndarray":
    """The thumbnails of a result, made once."""
    if found not in _made:
        layers, heads = found.scores.shape[:2]
        _made[found] = found.thumbnails(picture_size(layers * heads)).numpy()
    return _made[found]


def _registered():
    from workbench import registry

    return registry.get("attention")


def _sorting(names: list[str]) -> tuple[str, bool]:
    left, right = st.columns([4, 1.3], vertical_alignment="bottom")
    with left:
        sort = state.linked(
            st.segmented_control,
            "Order",
            "sort",
            PLACES,
            read=state.one_of((PLACES, *names)),
            options=[PLACES, *names],
            format_func=lambda name: "in place" if name == PLACES else f"by {name}",
            required=True,
            help="; ".join(MEANING[name] for name in names),
        )
    with right:
        lowest = state.linked(
            st.toggle, "Lowest first", "lowest", False, read=state.switch, write=state.yes_no, disabled=sort == PLACES
        )
    return sort, lowest


def _card(locked: str, found: "Attention", scores: dict) -> None:
    if not locked:
        st.info("Click a picture to lock a head.", icon=":material/ads_click:")
        return
    layer, head = map(int, locked.split("."))
    with st.container(border=True):
        st.markdown(f"**Layer {layer}, head {head}**")
        if found.n_kv_heads < found.scores.shape[1]:
            st.caption(f"reads key-value head {head // (found.scores.shape[1] // found.n_kv_heads)}")
        st.caption("  \n".join(f"{name} {values[layer, head]:.2f}" for name, values in scores.items()))
        if st.button("Open head", type="primary", icon=":material/center_focus_strong:", width="stretch"):
            attention = {"attention": state.get("attention")}
            state.go("head", layer=str(layer), head=str(head), **attention)
        if st.button("Ablate it", icon=":material/content_cut:", width="stretch"):
            site = f"{found.attention.rpartition('.')[0]}.{layer}.{found.attention.rpartition('.')[2]}.z:{head}"
            state.go("ablate", sites=site)


def _table(found: "Attention", scores: dict, sort: str, lowest: bool, locked: str) -> None:
    import pandas as pd

    layers, heads = found.scores.shape[:2]
    frame = pd.DataFrame(
        {
            "head": [f"{layer}.{head}" for layer in range(layers) for head in range(heads)],
            **{name: values.reshape(-1) for name, values in scores.items()},
        }
    )
    columns = {name: st.column_config.NumberColumn(format="%.2f", help=MEANING[name]) for name in scores}
    by = None if sort == PLACES else sort
    head_table(frame, columns, by=by, lowest=lowest, locked=locked, grid=_GRID)
