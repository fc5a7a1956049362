"""The models in memory: shared by all users, at most two at a time, loaded once."""

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import streamlit as st

from apps.cache import Cache
from apps.running import progress
from apps.text import plain

if TYPE_CHECKING:
    from workbench.models.checks import Check
    from workbench.models.lens_model import LensModel

MOST_MODELS = 2
_serial = count()


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in memory, and what had to be said while it was loaded."""

    asked: str
    """The name as the user gave it, and as `workbench.load` takes it."""
    model: "LensModel"
    note: str
    serial: int
    """A number of its own: results kept for another copy of the model are not taken for this one's."""

    @property
    def name(self) -> str:
        """The name that loads this very model."""
        return self.model.name if self.note else self.asked


@st.cache_resource
def _models() -> Cache[Loaded]:
    return Cache(max_items=MOST_MODELS)


@st.cache_resource
def _checks() -> "Cache[tuple[Check, ...]]":
    return Cache(max_items=8)


def default_name() -> str:
    """The model that is loaded when none is named."""
    from workbench.models.catalogue import DEFAULT

    return DEFAULT


def loaded(asked: str = "") -> Loaded:
    """The model called `asked`, from memory or loaded now. One that cannot be had is replaced by the micro model."""
    asked = asked.strip() or default_name()
    if (kept := _models().get(asked)) is not None:
        return kept
    slot = st.empty()

    def make() -> Loaded:
        from workbench.models.loading import load_or_micro

        with progress(f"Loading {asked}", f"load {asked}"):
            with slot.container():
                st.caption(f"Loading {plain(asked)} …")
            model, note = load_or_micro(asked)
        return Loaded(asked, model, note or "", next(_serial))

    def waiting() -> None:
        slot.caption(f"Another window is loading {plain(asked)} …")

    try:
        return _models().get_or_make(asked, make, waiting=waiting)
    finally:
        slot.empty()


def checks_of(one: Loaded) -> "tuple[Check, ...]":
    """The load-time checks of a model, run once."""

    def make() -> "tuple[Check, ...]":
        from workbench.models.checks import check

        with progress(f"Checking {one.model.name}", f"check {one.serial}"):
            return tuple(check(one.model))

    return _checks().get_or_make(one.serial, make)


def checks_kept(one: Loaded) -> bool:
    """Whether the checks of this model have been run."""
    return _checks().get(one.serial) is not None
