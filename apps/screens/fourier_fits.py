"""Whether a variable can be filtered out of a model: with which built-in task, or why with none."""

from typing import TYPE_CHECKING

import streamlit as st

from workbench.errors import BadInput, WorkbenchError

if TYPE_CHECKING:
    from apps.screens.fourier_asked import Asked
    from workbench.models.lens_model import LensModel

TASKS = ("addition", "induction")
"""Built-in tasks whose answers may be values of a variable; the others answer with names, cities or verbs."""
OWN = "A table of your own prompts can stand in its place: a CSV with the columns clean, corrupted, target and foil."
_DRAWN, _ENOUGH = 24, 6


def fitting(asked: "Asked", model: "LensModel") -> tuple[str, str]:
    """(task, "") for the first built-in task whose answers are values of the variable; ("", why) where none is."""
    kept: dict[tuple[str, str], tuple[str, str]] = st.session_state.setdefault("fourier:tasks", {})
    key = model.name, asked.variable
    if key not in kept:
        kept[key] = _found(asked, model)
    return kept[key]


def _found(asked: "Asked", model: "LensModel") -> tuple[str, str]:
    """The model is not run: examples are drawn and their answers looked up."""
    from workbench import registry, tasks
    from workbench.analyses.fourier.filter_runs import answer_rows

    if sentence := registry.get("fourier-filter").why_not(model):
        return "", sentence
    try:
        ids = asked.found.tokens()
        answer_rows(model, ids)
    except WorkbenchError as error:
        return "", str(error)
    values, short = set(ids.tolist()), False
    for name in TASKS:
        try:
            drawn = tasks.draw(name, model, examples=_DRAWN)
        except BadInput as error:
            short = short or too_long(str(error))
            continue
        if sum(len(targets) == 1 and targets[0] in values for targets in drawn.targets) >= _ENOUGH:
            return name, ""
    if short:
        return "", f"The prompts of the built-in tasks are longer than {model.name} reads. {OWN}"
    return "", f"No built-in task has answers that are values of {asked.found.name}. {OWN}"


def too_long(sentence: str) -> bool:
    """Whether a task was refused because its prompts are longer than the model reads."""
    from workbench.tasks.draft import TOO_LONG

    return TOO_LONG in sentence
