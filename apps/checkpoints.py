"""The checkpoints of a training on a page: which there are, a slider over them, and a look into one of them."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from apps import state
from apps.text import plain
from workbench.errors import WorkbenchError

MOST = 24
"""Checkpoints that are looked at; of more, as many as this, evenly spaced in their order."""
STUDIES = Path(__file__).parents[1] / "case_studies"


def checkpoints_of(asked: str) -> tuple[str, tuple[int, ...]]:
    """The name whose checkpoints a model's are, and their steps; of a checkpoint's own folder, those beside it."""
    from workbench.models.catalogue import CATALOGUE
    from workbench.models.loading import checkpoints

    kept: dict[str, tuple[str, tuple[int, ...]]] = st.session_state.setdefault("checkpoints:of", {})
    if asked not in kept:
        kept[asked] = asked, ()
        try:
            path = Path(asked).expanduser()
            beside = checkpoints(path.parent.absolute()) if path.is_dir() else {}
            folder = path.parent if path.name in beside.values() else path
            name = str(folder.absolute()) if path.is_dir() else asked  # one name, whichever of its checkpoints is shown
            if name not in CATALOGUE or any(place.kind == "hub" for place in CATALOGUE[name].sources):
                kept[asked] = name, tuple(sorted(checkpoints(name)))
        except (WorkbenchError, OSError):  # a tiny model, or a hub that does not answer: there are none to be had
            pass
    return kept[asked]


def thinned(steps: tuple[int, ...]) -> tuple[int, ...]:
    """At most `MOST` of the steps, the first and the last among them."""
    if len(steps) <= MOST:
        return steps
    return tuple(dict.fromkeys(steps[round(i * (len(steps) - 1) / (MOST - 1))] for i in range(MOST)))


def none_said(model: str) -> str:
    """What to say of a model without checkpoints."""
    return plain(
        f"{model} has no training checkpoints. Choose a model that has: a folder with subfolders named like "
        "checkpoint-1000, or a model on the hub with revisions named like step1000."
    )


def step_slider(steps: Sequence[int], unit: str = "step", *, name: str = "step") -> int:
    """A slider over the steps, kept in the address under `name`: the place of the chosen one, at first the last."""
    steps = list(steps)
    if len(steps) == 1:
        return 0
    step = state.linked(
        st.select_slider,
        f"Checkpoint ({plain(unit)})",
        name,
        steps[-1],
        read=lambda text: steps[steps.index(int(text))],
        options=steps,
        format_func=lambda n: f"{n:,}",
    )
    return steps.index(step)


def look_into(name: str, step: int, now: str, *, key: str, says: str = "", **options: str) -> None:
    """A button that opens this checkpoint for all pages, where it has a folder of its own; `now` is what is shown.

    `says` goes on from "Loads it in place of the model above, for all pages"; `options` are changed on this page.
    """
    from workbench.models.loading import checkpoints

    if not (folder := Path(name).expanduser()).is_dir():
        return
    path = str(folder / checkpoints(name)[step])
    if st.button(
        "Look into this checkpoint",
        icon=":material/open_in_new:",
        key=key,
        disabled=path == now,
        help=f"Loads it in place of the model above, for all pages{says}.",
    ):
        state.put(model=path, **options)
        st.rerun()
