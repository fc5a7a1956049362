"""The patches that are applied, as data: taken away one by one, written as text or JSON, read back, and as Python."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import state
from apps.exports import file_name
from apps.running import sentences
from apps.subject import Subject
from apps.text import plain
from workbench import interventions
from workbench.corpora.text_lines import split

if TYPE_CHECKING:
    from workbench.analyses.circuits.patched_answers import PatchedAnswers
    from workbench.models.lens_model import LensModel

_LEFT_OUT = "patches left out"


def chosen_patches(model: "LensModel") -> tuple[str, ...]:
    """The interventions that the address names, each in full; what is none of this model leaves it, and is said."""
    fitting, why = {}, []
    for text in state.get("patches").split():
        try:
            fitting |= dict.fromkeys(_read(text, model))
        except (ValueError, LookupError) as error:
            why.append(f"{text} is left out: {error}")
    if why:
        keep_patches(tuple(fitting))
        st.session_state[_LEFT_OUT] = (model.name, state.get("patches"), tuple(why))
    return tuple(fitting)


def left_out(model: "LensModel") -> tuple[str, ...]:
    """Which patches of the address were none of this model's, and why; until the patches are changed."""
    name, patches, why = st.session_state.get(_LEFT_OUT, ("", "", ()))
    return why if (name, patches) == (model.name, state.get("patches")) else ()


def keep_patches(patches: tuple[str, ...]) -> None:
    """Write down what is patched."""
    state.put(patches=" ".join(dict.fromkeys(patches)) or None)


def toggle(patch: str, model: "LensModel") -> None:
    """Apply a patch, or take it away again."""
    now = chosen_patches(model)
    keep_patches(tuple(p for p in now if p != patch) if patch in now else (*now, patch))


def typed(text: str) -> tuple[str, ...]:
    """A list of interventions from JSON, or one a line; an operation that is not named is a patch."""
    if text.strip().startswith(("[", "{")):
        return tuple(map(str, interventions.from_json(text)))
    return tuple(str(interventions.parse(line, operation="patch")) for line in split(text) if line.strip())


def replay(found: "PatchedAnswers", load: str, prompts: tuple[str, str]) -> str:
    """Python that makes the patched run with nothing but edits of sites."""
    base, source = prompts[::-1] if found.direction == "denoise" else prompts
    lines = "".join(f"    {text!r},\n" for text in found.interventions)
    return (
        "import workbench\nfrom workbench.interventions import edits\n\n"
        f"model = workbench.load({load!r})\npatches = [\n{lines}]\n"
        f"with workbench.editing(model, edits(model, patches, source={source!r})):\n"
        f"    logits = model.logits(model.encode({base!r}))"
    )


def the_list(found: "PatchedAnswers", seen: Subject, prompts: tuple[str, str]) -> None:
    """The patches as buttons, and as data."""
    patches, load = chosen_patches(seen.model), seen.loaded.name
    with st.container(horizontal=True, key="patch-list"):
        for patch in patches:
            st.button(
                plain(patch.removesuffix("=patch")),
                icon=":material/close:",
                key=f"patch:{patch}",
                help="Take this patch away",
                on_click=toggle,
                args=(patch, seen.model),
            )
        if len(patches) > 1:
            st.button("Clear", icon=":material/backspace:", on_click=keep_patches, args=((),))
    shown = state.linked(
        st.toggle,
        "Interventions as data",
        "data",
        False,
        read=state.switch,
        write=state.yes_no,
        help="The list as text, JSON and Python: to be kept, sent, changed by hand, or pasted back in.",
    )
    if shown:
        _form(patches, seen.model)
        if patches:
            text = interventions.to_json(map(interventions.parse, patches))
            st.caption("As JSON")
            st.code(text, language="json", height=160 if text.count("\n") > 8 else "content")
            st.download_button(
                "Download JSON",
                text,
                f"{file_name(f'patches-{load}')}.json",
                "application/json",
                icon=":material/download:",
                on_click="ignore",
            )
            st.caption("As Python")
            st.code(replay(found, load, prompts), language="python", wrap_lines=True)


@sentences
def _form(patches: tuple[str, ...], model: "LensModel") -> None:
    with st.form("patches typed", border=False):
        st.caption("One a line, SITE, SITE:HEADS, SITE@POSITIONS, or JSON as below; paste a list to apply it.")
        text = st.text_area(
            "Interventions",
            "\n".join(patches),
            key=f"patches typed:{' '.join(patches)}",
            label_visibility="collapsed",
            height=110,
            placeholder="blocks.5.attn.z:3@-1",
        )
        if st.form_submit_button("Apply"):
            found = typed(text)
            _read(" ".join(found), model)
            keep_patches(found)
            st.rerun()


def _read(text: str, model: "LensModel") -> tuple[str, ...]:
    """Interventions with spaces between them; raises if one is of another model."""
    found = [interventions.parse(part, operation="patch") for part in text.split()]
    for one in found:
        model.site(one.site)
    return tuple(dict.fromkeys(map(str, found)))


def params_of(params: dict[str, Any], model: "LensModel") -> dict[str, Any]:
    """The parameters of `patched-answers` among those of the page."""
    names = ("prompt", "corrupted", "direction", "token", "foil", "position")
    return {name: params[name] for name in names if name in params} | {"patches": chosen_patches(model)}
