"""What the circuit page asks before anything runs: the task, how edges are scored and chosen, and what that costs."""

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import files, state, widgets
from apps.models import Loaded
from apps.text import plain
from apps.views.circuit_words import cost_of, method_said
from workbench import registry

if TYPE_CHECKING:
    from workbench.registry import Param

ANALYSIS = "circuit"
MAIN = ("task", "method", "metric", "replace", "select", "slots", "examples")
"""Parameters that stand on the page; the others are behind a button."""
SELDOM = ("steps", "rule", "shares", "threshold", "absolute", "draws", "seed", "anyway", "untrained")
OPTIONS = frozenset({*MAIN, *SELDOM, "ran"})
HELP = {
    "task": "What the model is to do: pairs of prompts, or the path of a CSV with clean, corrupted, target, foil.",
    "method": "How edges are scored.",
    "metric": "What a circuit is to keep up. task: the one that the task comes with.",
    "replace": "What edges outside the circuit carry.",
    "select": "greedy: from the logits down, always the strongest edge into what is already there. top: the strongest.",
    "slots": "Where several query heads share keys and values: one slot for each kv head, or for each query head.",
    "examples": "Pairs of prompts.",
}


def settings(
    one: Loaded, *, beside: Callable[[], None], on_run: Callable[[], None], again: bool
) -> tuple[dict[str, Any], bool]:
    """Draw the questions one after the other in a row, the button, and what stands `beside` it.

    The parameters of the analysis, and whether the reader has said to run just these; the button then rests, unless
    they can be run `again`.
    """
    declared = {p.name: p for p in registry.get(ANALYSIS).params}
    values = {p.name: widgets.from_text(p, state.get(p.name)) for p in declared.values()}
    for name in MAIN:
        if name in declared and (name != "slots" or one.model.n_kv_heads < one.model.n_heads):
            values[name] = _ask(declared[name], one)
    rest = [p for p in declared.values() if p.name not in MAIN and _counts(p.name, str(values["method"]))]
    if rest:
        with st.popover("More", icon=":material/tune:", help="Settings that are seldom changed."):
            _form(rest, one)
    mark = fingerprint(one.name, values)
    ran = state.get("ran") == mark

    def run() -> None:
        files.allow(values["task"])
        state.put(ran=mark)
        on_run()

    st.button("Run", type="primary", icon=":material/play_arrow:", disabled=ran and not again, on_click=run)
    beside()
    return values, ran


def cost(one: Loaded, values: dict[str, Any]) -> None:
    """Say what running will do and cost."""
    said, long = cost_of(one.model, values)
    st.caption(plain(f"{method_said(str(values['method']))} {said}"))
    if long:
        st.warning(plain(long), icon=":material/hourglass_top:")


def fingerprint(model: str, params: dict[str, Any]) -> str:
    """A short text that is another for other parameters: the address says what it was that was run."""
    return f"{zlib.crc32(repr((model, sorted(params.items()))).encode()):08x}"


def _counts(name: str, method: str) -> bool:
    """Whether a setting matters to this method."""
    return {
        "steps": method.startswith("eap-ig"),
        "rule": method.startswith("eap-ig"),
        "threshold": method == "acdc",
    }.get(name, True)


def _ask(p: "Param", one: Loaded) -> Any:
    if p.name == "task":
        return task("Task", "task", str(p.default if not p.required else "ioi"))
    if p.choices:
        return state.linked(
            st.selectbox,
            widgets.label_of(p),
            p.name,
            p.default,
            read=state.one_of(p.choices),
            options=list(p.choices),
            help=HELP.get(p.name, p.help),
            width=170 if p.name in ("method", "metric") else 140,
        )
    low, high = (int(p.within.low or 1), int(p.within.high or 4096)) if p.within else (1, 4096)
    return state.linked(
        st.number_input,
        widgets.label_of(p),
        p.name,
        int(p.default or low),
        read=state.whole(low, high),
        min_value=low,
        max_value=high,
        step=1,
        help=HELP.get(p.name, p.help),
        width=130,
    )


def task_names(*more: str) -> list[str]:
    """The tasks that have a name, and others that are asked for."""
    from workbench import tasks

    names = list(tasks.names())
    return [*(name for name in dict.fromkeys(more) if name and name not in names), *names]


def task(label: str, option: str, default: str) -> str:
    """The name of a task, or the path of a CSV."""
    return state.linked(
        st.selectbox,
        label,
        option,
        default,
        read=_task,
        options=task_names(state.get(option), default),
        accept_new_options=True,
        help=HELP["task"],
        width=210,
    )


def _task(text: str) -> str:
    if not text.strip():
        raise ValueError(text)
    return text.strip()


def _form(rest: "list[Param]", one: Loaded) -> None:
    """Settings that are changed together."""
    context = widgets.Context(model=one.model)
    with st.form("circuit settings", border=False):
        # A widget starts anew when its text in the address changes.
        values = {
            p.name: widgets.ask(p, state.get(p.name), context, key=f"circuit:{p.name}:{state.get(p.name)}")
            for p in rest
        }
        if st.form_submit_button("Take these", icon=":material/check:"):
            state.put(**{p.name: widgets.to_text(p, values[p.name]) or None for p in rest})
            st.rerun()
