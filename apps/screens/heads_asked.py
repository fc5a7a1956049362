"""What the page of heads asks: how long blocks are and how often they stand there, and the thresholds of classes."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import state
from workbench import registry
from workbench.analyses.heads.head_removal import NEEDS
from workbench.analyses.heads.head_scores_result import CLASSES, SCORES

if TYPE_CHECKING:
    from workbench.analyses.heads.head_scores_result import HeadScores
    from workbench.models.lens_model import LensModel

LIMITS = {name: f"over_{name.replace(' ', '_')}" for name in CLASSES}
"""Class -> the name of its threshold in the address."""


def asked(model: "LensModel") -> dict[str, Any]:
    """The parameters of the run."""
    defaults = {p.name: p.default for p in registry.get("head-scores").params}
    found: dict[str, Any] = {}
    for name, label, low, high, help_ in (
        ("period", "Tokens in a block", 2, 512, "Random tokens, all different, that are then repeated"),
        ("repeats", "Copies", 2, 32, "How often the block stands there; cut where the context ends"),
    ):
        found[name] = state.linked(
            st.number_input, label, name, _fits(model, defaults[name], name), read=state.whole(low, high),
            min_value=low, max_value=high, step=1, width=150, help=help_,
        )  # fmt: skip
    can = model.capabilities >= NEEDS
    removed = state.linked(
        st.toggle,
        "Remove each head",
        "remove",
        False,
        read=state.switch,
        write=state.yes_no,
        disabled=not can,
        help="Also the loss on the repeats without each head, its output being its mean: a forward pass a head and "
        "sequence"
        if can
        else "This model predicts no next token.",
    )
    return {**found, "remove": removed and can}


def _fits(model: "LensModel", default: int, name: str) -> int:
    """The default, or for blocks less where a second copy would not fit."""
    if name != "period" or model.n_ctx is None:
        return default
    return max(2, min(default, (model.n_ctx - 3) // 2))


def thresholds(found: "HeadScores") -> dict[str, float]:
    """A slider for each class: its score must be above."""
    limits: dict[str, float] = {}
    with st.expander("Thresholds of the classes", icon=":material/tune:"):
        columns = st.columns(3)
        for i, (name, score) in enumerate(CLASSES.items()):
            low = -1.0 if name == "copying" else 0.0
            with columns[i % 3]:
                limits[name] = state.linked(
                    st.slider,
                    name.capitalize(),
                    LIMITS[name],
                    float(found.thresholds[name]),
                    read=lambda text, low=low: _share(text, low),
                    min_value=low,
                    max_value=1.0,
                    step=0.05,
                    help=f"Above this: {SCORES[score]}",
                )
    return limits


def _share(text: str, low: float) -> float:
    value = float(text)
    if not low <= value <= 1.0:
        raise ValueError(text)
    return value
