"""Patching lab: places of one prompt's run put into another's; a click applies a patch and shows the answer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports, results, state, views
from apps.generic import offer
from apps.running import sentences
from apps.screens.patching_asked import OF_HEADS, measured, other_prompt, signature, sweep_asked
from apps.screens.patching_list import chosen_patches, keep_patches, left_out, params_of, the_list, toggle
from apps.subject import Subject, subject
from apps.text import plain, visible
from apps.theme import is_dark
from apps.views.patch_answers import patch_answers
from apps.views.patch_map import map_of, patch_map, positions_of
from apps.views.patch_prompts import patch_prompts
from workbench import registry
from workbench.errors import Stopped, WorkbenchError

if TYPE_CHECKING:
    from workbench.analyses.circuits.activation_patching import ActivationPatching
    from workbench.analyses.circuits.patched_answers import PatchedAnswers

CAVEAT = (
    "A patch shows what a place carries of what tells these two prompts apart, and of nothing else. "
    "A copy elsewhere can stand in for what is taken away, but not hide what is brought back."
)
_MAP = "patch map"


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Patching lab",
        "Put parts of one prompt's run into another's, and see where the answer follows.",
        warning=CAVEAT,
        analysis="activation-patching",
    )
    if seen is None:
        return
    st.html(Path(views.__file__).with_name("patching.css"))
    other = other_prompt(seen)
    if not other:
        return
    params = {"prompt": seen.prompt, "corrupted": other, **measured(seen)}
    _view(seen, params)


@st.fragment
@sentences
def _view(seen: Subject, params: dict[str, Any]) -> None:
    asked = params_of(params, seen.model)
    for why in left_out(seen.model):
        st.warning(plain(why), icon=":material/link_off:")
    found = _applied(seen, asked)
    if found is None:
        return
    patch_prompts(
        found.tokens,
        found.corrupted_tokens,
        answer=None if seen.model.classes else found.position,
        patched=positions_of(found.interventions, len(found.tokens)),
        key="patch prompts",
    )
    if found.effect is None:
        same = params["prompt"] == params["corrupted"]
        st.info(
            "Both prompts are the same: change one of them."
            if same
            else "Both runs give the same difference of logits: there is no effect to measure. Choose other answers.",
            icon=":material/balance:",
        )
    with st.container(key="patching-sides"):
        left, right = st.columns([1.5, 1], gap="large")
    with left:
        _sweep(seen, params)
    with right:
        _answers(seen, found, asked)


def _applied(seen: Subject, asked: dict[str, Any]) -> "PatchedAnswers | None":
    """The patched run; where the patches do not fit these prompts, a sentence and the way out."""
    try:
        return results.result_of(seen.loaded, "patched-answers", **asked)
    except WorkbenchError as error:
        if isinstance(error, Stopped) or not asked["patches"]:
            raise
        st.error(plain(error))
        st.button("Take the patches away", icon=":material/backspace:", on_click=keep_patches, args=((),))
        return None


@sentences
def _sweep(seen: Subject, params: dict[str, Any]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = {**params, **sweep_asked(seen)}
        mark = signature(asked, seen.loaded.name)
        ran = state.get("ran") == mark
        st.button(
            "Run",
            type="secondary" if ran else "primary",
            icon=":material/play_arrow:",
            on_click=lambda: state.put(ran=mark),
            disabled=ran,
        )
    if not ran:
        st.caption(plain(_cost(seen, asked)))
        return
    found: ActivationPatching = results.result_of(seen.loaded, "activation-patching", **asked)
    if found.n_pairs:
        shown = map_of(found)
        patch_map(
            found, shown, chosen=chosen_patches(seen.model), key=_MAP, dark=is_dark(), on_click=lambda: _clicked(seen)
        )
        if shown.left_out:
            st.caption(f"The {len(shown.rows)} heads whose effects reach furthest; {shown.left_out} more are exported.")
        st.caption("Click a cell to apply that patch, and again to take it away; arrow keys and Enter do the same.")
    offer(registry.get("activation-patching"), seen, found, {k: v for k, v in asked.items() if v is not None})


def _cost(seen: Subject, asked: dict[str, Any]) -> str:
    """How many runs a sweep is at most."""
    layers, length = seen.model.n_blocks, len(seen.answered)
    heads = seen.model.n_heads
    if asked["sweep"] not in OF_HEADS:
        count = layers * length
    else:
        count = layers * heads * (length if asked["each_position"] else 1)
    return f"Up to {count:,} patches, each a run from the patched block on; places where both runs agree cost nothing."


def _clicked(seen: Subject) -> None:
    if patch := st.session_state[_MAP].click:
        toggle(patch, seen.model)


def _answers(seen: Subject, found: "PatchedAnswers", asked: dict[str, Any]) -> None:
    """The metric and the top answers of the two runs, and of the patched one between them."""
    clean, patched, corrupted = found.values.tolist()
    answer, foil = plain(visible(found.token)), plain(visible(found.foil)) if found.foil else ""
    st.markdown(f"**Logit of {answer}{f' less {foil}' if foil else ''}**")
    columns = st.columns(3)
    columns[0].metric("clean", f"{clean:.2f}")
    if found.interventions:
        effect = "undefined" if found.effect is None else f"effect {round(found.effect, 2) + 0:.2f}"
        columns[1].metric("patched", f"{patched:.2f}", effect, delta_color="off", delta_arrow="off")
    else:
        columns[1].metric("difference", f"{clean - corrupted:.2f}")
    columns[2].metric("corrupted", f"{corrupted:.2f}")
    patch_answers(found, key="patch answers")
    if not found.interventions:
        st.caption("Nothing is patched yet: run a sweep and click a cell, or write interventions below.")
    the_list(found, seen, (asked["prompt"], asked["corrupted"]))
    analysis = registry.get("patched-answers")
    given = {name: value for name, value in asked.items() if value is not None}
    exports.exports(
        f"patched-answers-{seen.model.name}",
        figure=found.figure,
        frame=found.to_frame,
        key="patched-answers",
        python=analysis.as_python(seen.loaded.name, given),
        command=analysis.as_command(seen.loaded.name, given),
    )
