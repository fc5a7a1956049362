"""Beside one head's scatter: how far it can be believed, the heads most like it, and what the selection holds."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports, results, state
from apps.running import sentences
from apps.subject import Subject
from apps.text import plain
from apps.views.qk_head_tables import chosen_points, correlation_table, counts_by_token, quality_lines, said
from workbench import registry

if TYPE_CHECKING:
    import numpy as np

    from workbench.analyses.embedding.joint_head import JointHead

_METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_ALIKE = {
    "patterns": "by where they look",
    "queries": "by what queries read",
    "keys": "by what keys read",
    "values": "by what values read",
    "outputs": "by what they write",
}
_MOST = 200  # tokens the list shows; the file holds all points


def quality(found: "JointHead") -> None:
    """How well distance stands for attention, and the picture for distance."""
    headline = float(found.correlations[2, 0, 0])
    before = float(found.correlations[0, 0, 0])
    with st.container(border=True):
        st.metric(
            "Distance against q·k",
            said(headline),
            help="Spearman's correlation of cosine distance with the dot product of queries and keys, aligned: "
            "−1 says that near is attended to, 0 that distance says nothing.",
        )
        st.caption(f"Spearman, cosine, aligned; {said(before)} before. −1 is perfect.")
        _table(found, "spearman")
        st.caption("  \n".join(map(plain, quality_lines(found, metric=_METHODS.get(found.method, found.method)))))
        with st.expander("Pearson"):
            _table(found, "pearson")


def _table(found: "JointHead", statistic: str) -> None:
    table = correlation_table(found, statistic=statistic)
    numbers = {plain(name): [said(value) for value in table[name]] for name in table}
    st.table({statistic.capitalize(): table.index.tolist()} | numbers, border="horizontal")


@sentences
def similar(seen: Subject, found: "JointHead", params: dict[str, Any]) -> None:
    """The heads most like this one, each a button that opens it; found once for all heads."""
    by = state.linked(
        st.selectbox,
        "Similar heads",
        "alike",
        "patterns",
        read=state.one_of(_ALIKE),
        options=list(_ALIKE),
        format_func=lambda name: _ALIKE[name],
        help="By where they look on 16 inputs (mean Jensen-Shannon divergence of their patterns, in nats), or by the "
        "directions that their weights read or write (0 the same, 1 at right angles).",
    )
    analysis = registry.get("similar-heads")
    if sentence := analysis.why_not(seen.model):
        st.caption(plain(sentence))
        return
    asked = {name: params[name] for name in ("texts", "attention", "seed")}
    like = results.result_of(seen.loaded, "similar-heads", by=by, **asked)
    here = like.number(found.layer, found.head)
    with st.container(horizontal=True, gap="small", key="qk-head-similar"):
        for other in like.nearest[here].tolist():
            label = like.label(other)
            far = f"{like.distances[here, other]:.2f}"
            if st.button(f"{label} · {far}", key=f"alike:{label}", help=f"Open layer and head {label}"):
                layer, _, head = label.partition(".")
                state.put(layer=layer, head=head)
                st.rerun()


def selection(seen: Subject, found: "JointHead", chosen: "np.ndarray") -> None:
    """The selected points by token, and all of them as a file."""
    st.subheader("Selection", anchor=False)
    if not chosen.any():
        st.caption("No point is selected.")
        return
    table = counts_by_token(found, chosen)
    keys = int(found.is_key.numpy()[chosen].sum())
    inputs = len(set(found.input.numpy()[chosen].tolist()))
    st.caption(
        f"{int(chosen.sum()):,} points: {int(chosen.sum()) - keys:,} queries and {keys:,} keys, "
        f"{len(table):,} different tokens, from {inputs:,} of {len(found.texts):,} inputs."
    )
    st.dataframe(
        table.head(_MOST),
        hide_index=True,
        height=min(320, 38 + 28 * len(table)),
        row_height=28,
        column_config={
            "share": st.column_config.ProgressColumn(
                "share of the token", format="percent", min_value=0, max_value=1, help="Of all points of this token"
            )
        },
    )
    exports.exports(
        f"selection-{found.layer}-{found.head}-{seen.model.name}",
        frame=lambda: chosen_points(found, chosen),
        key="qk selection",
    )
