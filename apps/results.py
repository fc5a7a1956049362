"""Results in memory: an analysis of one model with the same parameters is run once, whoever asks."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import files
from apps.cache import Cache
from apps.models import Loaded
from apps.running import progress

if TYPE_CHECKING:
    from workbench.results import Result

FROM_FILES = ("task", "variable")
"""Kinds of parameters that may be the path of a file, which no link opens. A corpus it does open: a copied view of
one's own texts, and a reloaded page, show them again."""
MOST_BYTES = 1.5e9  # several long prompts' patterns; the last result is kept whatever its size


def size_of(result: "Result") -> int:
    """Memory of the tensors of a result, in bytes."""
    values = (getattr(result, f.name) for f in fields(result))
    return sum(getattr(value, "nbytes", 0) for value in values)


@st.cache_resource
def _results() -> "Cache[Result]":
    return Cache(max_items=64, max_bytes=MOST_BYTES, size_of=size_of)


def key_of(one: Loaded, name: str, params: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one run from another."""
    return one.serial, name, repr(sorted(params.items()))


def result_of(one: Loaded, name: str, **params: Any) -> Any:
    """The result of an analysis, kept or made now with a progress bar and a stop button."""
    from workbench import registry

    analysis = registry.get(name)
    files.check(*(params[p.name] for p in analysis.params if p.kind in FROM_FILES and p.name in params))
    slot = st.empty()

    def make() -> "Result":
        with slot.container(), progress(analysis.title, f"{name} {one.serial} {params!r}"):
            return analysis(one.model, **params)

    def waiting() -> None:
        slot.caption("Another window is computing the same …")

    key = key_of(one, name, params)
    if (kept := _results().get(key)) is not None:
        return kept
    try:
        return _results().get_or_make(key, make, waiting=waiting)
    finally:
        slot.empty()
