"""Beside one head's scatter: how far it can be believed, the heads most like it, and what the selection holds."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports
from apps.subject import Subject
from apps.text import plain
from apps.views.qk_head_tables import chosen_points, correlation_table, counts_by_token, quality_lines, said

if TYPE_CHECKING:
    import numpy as np

    from workbench.analyses.embedding.joint_head import JointHead

_METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
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
        for statistic in ("spearman", "pearson"):
            table = correlation_table(found, statistic=statistic)
            st.table(
                {statistic.capitalize(): table.index.tolist()}
                | {plain(name): [said(value) for value in table[name]] for name in table},
                border="horizontal",
            )
        for line in quality_lines(found, metric=_METHODS.get(found.method, found.method)):
            st.caption(plain(line))


def similar(seen: Subject, found: "JointHead", params: dict[str, Any]) -> None:
    """The heads most like this one."""


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
