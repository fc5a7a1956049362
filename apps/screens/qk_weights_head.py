"""One head of the QK weights page: its numbers and picture in a card, its product and spectra in figures."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import streamlit as st

from apps import state
from apps.subject import Subject
from apps.theme import is_dark
from apps.views import qk_weights as view
from apps.views.qk_weights_figures import eigenvalue_figure, product_figure, spectrum_figure

if TYPE_CHECKING:
    import numpy as np

    from workbench.analyses.embedding.qk_weights import QKWeights

_SIZE = 128  # pixels a side of the large picture
_KEPT = 64  # pictures that are kept for each result
_made: "WeakKeyDictionary[QKWeights, dict[tuple[str, int, int], np.ndarray]]" = WeakKeyDictionary()


def card(seen: Subject, found: "QKWeights", of: str, layer: int, head: int, *, chosen: bool) -> None:
    """The head's product, its numbers, and where to go from here."""
    if not chosen:
        st.info("This head stands out most. Click another to lock it.", icon=":material/ads_click:")
    with st.container(border=True, key="qk-card"):
        st.markdown(f"**Layer {layer}, head {head}**")
        if found.n_kv_heads < found.scores.shape[1]:
            st.caption(f"asks key-value head {head // (found.scores.shape[1] // found.n_kv_heads)}")
        st.image(view.picture_of(_picture(seen, found, of, layer, head), dark=is_dark()), width="stretch")
        where = {"layer": str(layer), "head": str(head)}
        where |= {"attention": state.get("attention")} if state.get("attention") else {}
        if st.button("Queries and keys", type="primary", icon=":material/scatter_plot:", width="stretch"):
            state.go("qk_head", **where)
        if st.button("Open head", icon=":material/center_focus_strong:", width="stretch"):
            state.go("head", **where)
        st.html(view.numbers(found, layer, head))


def figures(seen: Subject, found: "QKWeights", of: str, layer: int, head: int) -> None:
    """The product, the singular values and the eigenvalues side by side."""
    st.markdown(f"##### Layer {layer}, head {head}")
    left, middle, right = st.columns([1.25, 1, 1], gap="medium")
    with left:
        chosen = state.linked(
            st.segmented_control,
            "Product",
            "of",
            of,
            read=state.one_of(view.SHORT),
            options=list(view.SHORT),
            format_func=lambda name: view.SHORT[name],
            required=True,
            label_visibility="collapsed",
        )
        picture = _picture(seen, found, chosen, layer, head)
        st.plotly_chart(product_figure(picture, found.d_model), theme="streamlit", key="product")
        block = -(-found.d_model // len(picture))
        each = f"Each pixel is the mean of {block} × {block} entries. " if block > 1 else ""
        st.caption(f"{each}A diagonal is a direction that is mapped to itself, or against itself where it is red.")
    with middle:
        st.caption("Singular values, as shares of the largest; dotted: the median head")
        st.plotly_chart(spectrum_figure(found, layer, head), theme="streamlit", key="spectrum")
    with right:
        st.caption("Eigenvalues, as shares of the largest: right is for itself, left against itself")
        st.plotly_chart(eigenvalue_figure(found, layer, head), theme="streamlit", key="eigenvalues")


def _picture(seen: Subject, found: "QKWeights", of: str, layer: int, head: int) -> "np.ndarray":
    """One head's product; those that were looked at are kept."""
    from workbench.analyses.embedding.qk_weights import product_picture

    kept = _made.setdefault(found, {})
    if (of, layer, head) not in kept:
        made = product_picture(
            seen.model,
            found.attention,
            layer,
            head,
            of="qk" if of == "qk" else "vo",
            fold_norm=found.folded,
            size=_SIZE,
        )
        kept[of, layer, head] = made.numpy()
        while len(kept) > _KEPT:
            kept.pop(next(iter(kept)))
    return kept[of, layer, head]
