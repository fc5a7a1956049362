"""The top of every page: its title, the model, the prompt or what stands in its place, and the link."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

from apps import models, state
from apps.text import plain, short
from apps.views.component import component
from workbench import registry

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

Asked = TypeVar("Asked")
EXAMPLES = (
    "The capital of France is",
    "When Mary and John went to the store, John gave a drink to",
    "the cat sat on the mat and the cat sat on the",
)
_BUTTON = 200  # pixels that the name of a model has in a row that wraps


@dataclass(frozen=True)
class Subject:
    """What a page looks at."""

    loaded: models.Loaded
    prompt: str
    """"" on a page that reads many inputs instead."""
    tokens: tuple[str, ...]
    """One label a position of the prompt, as the model reads it."""
    answered: tuple[str, ...]
    """One label a position at which the model answers: in encoder-decoders, of the text it writes."""

    @property
    def model(self) -> "LensModel":
        """The model in memory."""
        return self.loaded.model


def heading(title: str, caption: str = "") -> None:
    """The title, and the button that copies the address of the view."""
    left, right = st.columns([6, 1.3], vertical_alignment="bottom")
    with left:
        st.header(plain(title), anchor=False)
    with right:
        component("copy_link")(key="copy link")
    if caption:
        st.caption(plain(caption))


def subject(title: str, caption: str = "", *, warning: str = "", analysis: str = "") -> Subject | None:
    """Draw the top of a page; None, with what to do next shown, while there is nothing to look at.

    `analysis` names the one that the page needs: a model that lacks something for it gets a sentence.
    """
    heading(title, caption)
    one = bar()
    prompt = state.get("prompt")
    if warning:
        st.caption(f":material/info: {plain(warning)}")
    if not prompt.strip():
        nothing_yet(one)
        return None
    if analysis and (sentence := registry.get(analysis).why_not(one.model)):
        st.info(plain(sentence))
        return None
    batch = one.model.encode(prompt)
    return Subject(one, prompt, one.model.labels(batch), one.model.labels(batch, side=one.model.main.side))


def of_many(
    title: str, caption: str, ask: Callable[[models.Loaded], Asked], *, warning: str = "", analysis: str
) -> tuple[Subject, Asked] | None:
    """Draw the top of a page that reads many inputs: what `ask` asks stands where other pages have the prompt."""
    heading(title, caption)
    row = st.container(horizontal=True, vertical_alignment="center")
    with row.container(width=_BUTTON):
        model_button()
    one = loaded()
    if warning:
        st.caption(f":material/info: {plain(warning)}")
    if sentence := registry.get(analysis).why_not(one.model):
        st.info(plain(sentence))
        return None
    with row:
        return Subject(one, "", (), ()), ask(one)


def bar() -> models.Loaded:
    """The model's name and the prompt, side by side."""
    left, right = st.columns([2, 5], vertical_alignment="bottom")
    with left:
        model_button()
    with right:
        prompt_box()
    return loaded()


def model_button() -> None:
    """The name of the model that is shown; a click lets one choose another."""
    with st.popover(plain(short(_shown(state.get("model")), 24)), icon=":material/deployed_code:", width="stretch"):
        choose_model()


def _shown(asked: str) -> str:
    """What is on the button: once the model is there, its own name, which another than the one asked for may have."""
    name = asked or models.default_name()
    first = Path(name).name if Path(name).is_absolute() else name
    return _names().get(asked, first)


def _names() -> dict[str, str]:
    return st.session_state.setdefault("subject:names", {})


def loaded() -> models.Loaded:
    """The model that the address names; what had to be said while it was loaded is shown.

    All in one container: a bar that is there while the model is loaded moves nothing of what comes after it, which
    else would be seen twice in the next run.
    """
    with st.container():
        asked = state.get("model")
        one = models.loaded(asked)
        name = one.model.name if one.note or Path(asked).is_absolute() else asked or models.default_name()
        if name != _shown(asked):  # the button was drawn before the model was there
            _names()[asked] = name
            st.rerun()
        if one.note:
            st.warning(plain(one.note), icon=":material/cloud_off:")
    return one


def prompt_box() -> None:
    """Where the prompt is typed; long ones get more lines."""
    text = state.get("prompt")
    long = "\n" in text or len(text) > 400
    widget = st.text_area if long else st.text_input
    state.linked(
        widget,
        "Prompt",
        "prompt",
        "",
        read=str,
        label_visibility="collapsed",
        placeholder="Type a sentence, then Enter",
        **_height(100 if long else None),
    )


def _height(pixels: int | None) -> dict[str, Any]:
    return {} if pixels is None else {"height": pixels}


def choose_model() -> None:
    """The models of the catalogue, or any other by its hub id, path or tiny:FAMILY."""
    from workbench.models.catalogue import CATALOGUE

    names = list(CATALOGUE)
    name = state.get("model")
    if name and name not in names:
        names.insert(0, name)
    state.linked(
        st.selectbox,
        "Model",
        "model",
        models.default_name(),
        read=str,
        options=names,
        accept_new_options=True,
        format_func=lambda n: f"{CATALOGUE[n].title} ({n})" if n in CATALOGUE else n,
        help="Choose one, or type a Hugging Face id, the path of a folder, or tiny:FAMILY (tiny:gpt2, tiny:bert …)",
    )


def nothing_yet(one: models.Loaded) -> None:
    """The empty page: one sentence, and prompts to try."""
    if one.model.reads == "text":
        st.info("Type a sentence above and press Enter, or try one of these.", icon=":material/edit:")
        with st.container(horizontal=True):
            for i, text in enumerate(EXAMPLES):
                st.button(text, key=f"example:{i}", on_click=_take, args=(text,))
    else:
        st.info(
            f"{plain(one.model.name)} reads {plain(one.model.reads)}: type the path of a file above and press Enter.",
            icon=":material/image:",
        )


def _take(text: str) -> None:
    state.put(prompt=text)


def tokens_of(one: models.Loaded, prompt: str) -> tuple[str, ...]:
    """The prompt as the model reads it, one label a position. Raises `BadInput` with the reason when it cannot."""
    return one.model.labels(one.model.encode(prompt))
