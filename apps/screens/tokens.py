"""Token attribution: which tokens an answer uses, by many methods side by side, judged by taking the tokens away."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import asking, results, state
from apps.generic import offer
from apps.running import sentences
from apps.subject import Subject, subject
from apps.text import plain
from apps.theme import is_dark
from apps.views.token_table import token_table
from apps.views.token_table_data import CHECKS, layer_of, names_in, table_of
from apps.views.token_table_figure import table_figure
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.attribution.side_by_side import TokenAttribution

CAVEAT = (
    "Each method has its own idea of what counts. Trust one as far as it agrees with the last column, "
    "where the tokens are really taken away."
)
_LONG = 60  # tokens from which the notes below are folded away


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Token attribution",
        "Which tokens the answer uses, by many methods side by side, each judged by a causal check.",
        warning=CAVEAT,
        analysis="token-attribution",
    )
    if seen is None:
        return
    params = _asked(seen)
    _view(seen, results.result_of(seen.loaded, "token-attribution", **params), params)


def _asked(seen: Subject) -> dict:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        params = {"prompt": seen.prompt, **_target(seen), "check": _check(seen)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        params["methods"] = _methods(seen)
        params["words"] = _switch("Merge into words", "words", "The scores of the pieces of a word are added up.")
        with st.popover("Compared", icon=":material/tune:"):
            params["skip_first"] = _switch("Leave out the first position", "skip_first", "Where attention often rests.")
            params["skip_special"] = _switch("Leave out special tokens", "skip_special", "Start, class, separator.")
            params["replacement"] = _replacement() if params["check"] in ("auto", "replace") else None
    return params


def _switch(label: str, name: str, help: str) -> bool:
    return state.linked(st.toggle, label, name, False, read=state.switch, write=state.yes_no, help=help)


def _replacement() -> str | None:
    text = state.linked(
        st.text_input,
        "Put in the place of each token",
        "replacement",
        "",
        read=str,
        placeholder="the mask or unknown token, else a mean state",
    )
    return text or None


def _methods(seen: Subject) -> tuple[str, ...]:
    """The methods chosen; none stands for the fast ones that the model allows."""
    from workbench.analyses.attribution.methods import methods
    from workbench.analyses.attribution.together import FAST

    offered = {name: one for name, one in methods().items() if not one.missing(seen.model)}
    fast = [name for name in FAST if name in offered]
    chosen = state.linked(
        _multiselect,
        "Methods",
        "methods",
        fast,
        read=lambda text: names_in(text, tuple(offered)),
        write=" ".join,
        options=list(offered),
        format_func=lambda name: offered[name].title,
        placeholder="the fast ones",
        width=600,
        help="Methods that this model does not allow are not offered: "
        + (plain(", ".join(one.title for name, one in methods().items() if name not in offered)) or "there are none")
        + ".",
    )
    return () if chosen == fast else tuple(chosen)


def _multiselect(label: str, *, value: list[str], **options: Any) -> list[str]:
    return st.multiselect(label, default=value, **options)


def _check(seen: Subject) -> str:
    (asked,) = (p for p in registry.get("token-attribution").params if p.name == "check")
    needed = {"mask-attention", "zero-values"}  # attention, in which tokens are hidden or silenced
    offered = [name for name in asked.choices if "pattern" in seen.model.capabilities or name not in needed]
    return state.linked(
        st.selectbox,
        "Causal check",
        "check",
        asked.default,
        read=state.one_of(offered),
        options=offered,
        format_func=lambda name: CHECKS[name][0],
        help="How tokens are taken away, one forward pass each.",
    )


def _target(seen: Subject) -> dict:
    """What is explained; models without a trained head have no answers, classifiers one for the whole prompt."""
    if "logits" not in seen.model.capabilities:
        st.caption(f"{plain(seen.model.name)} has no trained head: what is explained is its state.")
        return {"position": asking.position(seen)}
    token = asking.answer("Answer", "Its logit is explained.")
    foil = state.linked(
        st.text_input,
        "Against",
        "foil",
        "",
        read=str,
        placeholder="its logit alone",
        help=f"One {'class' if seen.model.classes else 'token'}: the difference of both logits is explained.",
    )
    target = {"token": token, "foil": foil or None}
    return target if seen.model.classes else {**target, "position": asking.position(seen)}


@st.fragment
@sentences
def _view(seen: Subject, found: "TokenAttribution", params: dict) -> None:
    table = table_of(found)
    last = len(table.steps) - 1
    step = state.fitting("step", last, state.whole(0, last))
    row = state.fitting("row", None, lambda text: state.whole(0, len(found.tokens) - 1)(text))
    st.caption(plain(_explained(found)))
    token_table(
        found.tokens,
        table.columns,
        table.check,
        steps=table.steps,
        step=step,
        row=row,
        control=table.control,
        counted=found.counted.tolist(),
        sides=found.sides,
        key="token table",
        dark=is_dark(),
        on_step=lambda: _moved(last),
        on_click=_clicked,
    )
    for name, reason in found.left_out:
        st.caption(f":material/info: {plain(name)}: {plain(reason)}")
    title = _title(found, table.steps[step])
    given = {key: value for key, value in params.items() if value not in (None, (), False)}
    if step != last and (layer := layer_of(table.steps[step])) is not None:
        given["layer"] = layer
    offer(
        registry.get("token-attribution"),
        seen,
        found,
        given,
        figure=lambda: table_figure(found.tokens, table.columns, table.check, step=step, title=title),
    )
    with st.expander("Where each method misleads", icon=":material/warning:", expanded=len(found.tokens) < _LONG):
        for column in (*table.columns, *([table.check] if table.check else [])):
            st.markdown(f"**{plain(column.title)}**: {plain(column.note or 'no note')}")


def _title(found: "TokenAttribution", step: str) -> str:
    return f"{found.explained}, cumulative methods after {step}" if step != "all" else found.explained


def _explained(found: "TokenAttribution") -> str:
    said = f"Explained: the {found.explained}" + ("" if found.score is None else f", which is {found.score:.3f}")
    passes = ", ".join(f"{count} for the {what}" for what, count in found.passes)
    return f"{said}. Forward passes: {passes}, and those of the methods." if passes else f"{said}."


def _moved(last: int) -> None:
    step = int(st.session_state["token table"].step)
    state.put(step=None if step == last else str(step))


def _clicked() -> None:
    row = st.session_state["token table"].click
    if row is not None:
        state.put(row=None if str(row) == state.get("row") else str(row))
