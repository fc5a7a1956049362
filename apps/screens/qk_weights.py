"""QK weights: what W_Q W_K^T and W_V W_O of every head do, no input needed; a click locks a head and shows its own."""

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import streamlit as st

from apps import results, state
from apps.generic import offer
from apps.locking import head_table, lock_clicked, locked_head
from apps.models import Loaded
from apps.running import progress, sentences
from apps.screens.qk_weights_head import card, figures
from apps.subject import Subject, of_many
from apps.text import plain
from apps.theme import is_dark
from apps.views import qk_weights as view
from apps.views.grid import PLACES, Layout, by_score, in_place
from apps.views.qk_weights_figures import layers_figure
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.embedding.qk_weights import QKWeights

ANALYSIS = "qk-weights"
CAVEAT = "Weights say what a head could do to any input, not what it does to yours. Attention and QK pages show that."
_GRID = "weights grid"
_clicked = partial(lock_clicked, _GRID)
_TILES = {"colours": "colours", "pictures": "products"}
_ORDERS = {PLACES: "layer and head", "number": "the number"}
_DEEP = 1.6  # layers per head from which layers go across
_small: "WeakKeyDictionary[QKWeights, dict[tuple[str, bool], dict[str, object]]]" = WeakKeyDictionary()


def page() -> None:
    """Draw the page."""
    top = of_many(
        "QK weights",
        "What each head's queries and keys, and its values and outputs, do together: from the weights alone.",
        _asked,
        warning=CAVEAT,
        analysis=ANALYSIS,
    )
    if top is not None:
        seen, params = top
        _view(seen, results.result_of(seen.loaded, ANALYSIS, **params), params)


def _asked(one: Loaded) -> dict[str, Any]:
    from workbench.analyses.embedding.head_weights import foldable

    names = list(one.model.attentions)
    attention = None
    if len(names) > 1:
        attention = state.linked(
            st.segmented_control, "Attention", "attention", names[0], read=state.one_of(names), options=names,
            required=True, label_visibility="collapsed",
        )  # fmt: skip
    can = foldable(one.model, attention) and "norms" in one.model.capabilities
    fold = state.linked(
        st.toggle,
        "Fold the norm",
        "fold",
        False,
        read=state.switch,
        write=state.yes_no,
        disabled=not can,
        help="Multiply the weights of the norm before the attention into W_Q, W_K and W_V, and leave out what "
        "they read of the mean"
        if can
        else "This model has no norm before its attention that is known as numbers.",
    )
    return {"attention": attention, "fold_norm": fold and can}


@st.fragment
@sentences
def _view(seen: Subject, found: "QKWeights", params: dict[str, Any]) -> None:
    number, tiles, sort, lowest = _look()
    layers, heads = found.scores.shape[:2]
    locked = locked_head(layers, heads)
    layer, head = map(int, (locked or _first(found, number)).split("."))
    of = number.partition("_")[0]
    dark = is_dark()
    colours = view.scale_of(found, number, dark=dark)

    with st.container(key="qk-sides"):
        wide, narrow = st.columns([3.7, 1.2], gap="medium")
    with narrow:
        view.legend(found, number, colours)
        card(seen, found, of, layer, head, chosen=bool(locked))
    with wide:
        sprite = _sprite(seen, found, number, dark) if tiles == "pictures" else None
        layout = _layout(found, number, sort, lowest, small=sprite is None)
        view.weights_grid(found, number, layout, colours, sprite=sprite, locked=locked, on_click=_clicked)
        st.caption(_below(found, number, tiles))
        offer(registry.get(ANALYSIS), seen, found, params, figure=lambda: found.figure(of=number))
        _layers(found)
        for note in found.notes:
            st.caption(f":material/info: {plain(note)}")
    figures(seen, found, of, layer, head)
    _table(found, number, sort, lowest, locked)


def _look() -> tuple[str, str, str, bool]:
    """Which number, how heads are drawn, and in which order."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = state.linked(
            st.selectbox,
            "Number",
            "number",
            view.NUMBERS[0],
            read=state.one_of(view.NUMBERS),
            options=view.NUMBERS,
            format_func=view.named,
            width=310,
            help="; ".join(f"{label}: {view.meaning(f'qk_{name}')}" for name, label in view.NAMES.items()),
        )
        tiles = state.linked(
            st.segmented_control, "Draw", "tiles", "colours", read=state.one_of(_TILES), options=list(_TILES),
            format_func=lambda name: _TILES[name], required=True,
            help="colours: the number. products: the product itself, small; a diagonal is the identity.",
        )  # fmt: skip
        sort = state.linked(
            st.segmented_control, "Order by", "sort", PLACES, read=state.one_of(_ORDERS), options=list(_ORDERS),
            format_func=lambda name: _ORDERS[name], required=True,
        )  # fmt: skip
        lowest = state.linked(
            st.toggle, "Lowest first", "lowest", False, read=state.switch, write=state.yes_no, disabled=sort == PLACES
        )
    return number, tiles, sort, lowest


def _layout(found: "QKWeights", number: str, sort: str, lowest: bool, *, small: bool) -> Layout:
    layers, heads = found.scores.shape[:2]
    if sort != PLACES:
        return by_score(found.score(number).numpy(), lowest_first=lowest, columns=20)
    return in_place(layers, heads, across=layers > _DEEP * heads)


def _sprite(seen: Subject, found: "QKWeights", number: str, dark: bool) -> dict[str, object]:
    """The small pictures of a result, made once for each product."""
    from workbench.analyses.embedding.qk_weights import product_pictures

    of, kept = number.partition("_")[0], _small.setdefault(found, {})
    if (of, dark) not in kept:
        size = view.side_of(found.scores[..., 0].numel())
        with progress("Products", f"products {seen.loaded.serial} {found.attention} {of} {found.folded}"):
            made = product_pictures(
                seen.model, found.attention, of="qk" if of == "qk" else "vo", fold_norm=found.folded, size=size
            )
        kept[of, dark] = view.sprite_of(made.numpy(), dark=dark)
    return kept[of, dark]


def _below(found: "QKWeights", number: str, tiles: str) -> str:
    """What a tile is."""
    if tiles == "colours":
        return plain(f"Each square is a head of {found.attention}, coloured by {view.named(number)}.")
    block = -(-found.d_model // view.side_of(found.scores[..., 0].numel()))
    product = view.SHORT[number.partition("_")[0]]
    each = f"a pixel is the mean of {block} × {block} entries" if block > 1 else "a pixel is an entry"
    return plain(
        f"Each picture is {product} of a head of {found.attention}; {each}, red below 0 and blue above, on a scale of "
        "its own. A blue diagonal is the identity, a red one its negative."
    )


def _layers(found: "QKWeights") -> None:
    st.plotly_chart(layers_figure(found), theme="streamlit", key="by layer")
    st.caption(
        "Closeness to the identity, mean of a layer's heads; and the cosine with it of W_V W_O of all heads added up, "
        "which Trockman & Kolter (2023) found near the negative of the identity in trained vision transformers."
    )


def _first(found: "QKWeights", number: str) -> str:
    """The head that is shown until one is locked: the one whose number stands out most."""
    import numpy as np

    values = found.score(number).numpy()
    size = np.nan_to_num(np.abs(values - (0.5 if number.endswith("_positive") else 0.0)), nan=-1.0)
    layer, head = np.unravel_index(int(size.argmax()), size.shape)
    return f"{layer}.{head}"


def _table(found: "QKWeights", number: str, sort: str, lowest: bool, locked: str) -> None:
    columns = {
        name: st.column_config.NumberColumn(view.named(name), format="%.3g", help=view.meaning(name))
        for name in view.NUMBERS
    }
    by = None if sort == PLACES else number
    head_table(view.table(found), columns, by=by, lowest=lowest, locked=locked, grid=_GRID)
