"""What the Fourier page asks: the variable, the text it stands in, and when to run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import files, state
from apps.models import Loaded
from apps.screens.circuit_asked import fingerprint
from apps.text import plain
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel
    from workbench.variables import Variable

TEMPLATES = {
    "months": "My birthday is in {}",
    "days": "Today is {}",
    "numbers": "The number {}",
    "digits": "The number {}",
    "letters": "the letter {}",
}
"""Variables to begin with, the clearest first, each with words before it: the very first position tells little."""
READ = {"value": "at the value", "last": "at the end of the text"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is looked at."""

    variable: str
    found: "Variable"

    def most(self) -> int:
        """The highest frequency."""
        return len(self.found) // 2


def variable_asked(one: Loaded) -> Asked | None:
    """Draw the choice of the variable; None, with the reason and a way out, where it is none."""
    from workbench.variables import names, variable

    first = begin(one.model)
    text = state.get("variable") or first
    options = list(dict.fromkeys([*names(), text]))
    spec = state.linked(
        st.selectbox,
        "Variable",
        "variable",
        first,
        read=_some,
        options=options,
        accept_new_options=True,
        help="What is ordered: a name, a range such as 0-99 or 0-100:10, a list such as red,green,blue, "
        "the path of a file with one value a line, or token ids such as ids:0-58. Type any of these.",
        width=220,
    )
    try:
        files.check(spec)
        return Asked(variable=spec, found=variable(spec, one.model))
    except WorkbenchError as error:
        st.session_state["fourier:wrong"] = error
        return None


def sorry(model: "LensModel", mark: Callable[[str], str]) -> None:
    """Say why there is no variable, and offer some that there are; `mark` as in `examples`."""
    error = st.session_state.get("fourier:wrong")
    if isinstance(error, files.NotOpened):
        files.offer(error, "variable")
    else:
        st.error(plain(error or "This is no variable."))
    st.caption("Choose another above, or try one of these.")
    examples(model, mark)


def begin(model: "LensModel") -> str:
    """The variable to begin with: the first whose values are one token each."""
    return next(iter(offered(model)), "letters")


def offered(model: "LensModel") -> tuple[str, ...]:
    """The variables to try whose values are one token each in this model."""
    kept: dict[str, tuple[str, ...]] = st.session_state.setdefault("fourier:fitting", {})
    if model.name not in kept:
        kept[model.name] = tuple(name for name in TEMPLATES if _fits(name, model))
    return kept[model.name]


def text_of(variable: str, model: "LensModel") -> str:
    """The text to begin with; none where the model does not know its words."""
    text = TEMPLATES.get(variable, "The number {}" if variable[:1].isdigit() else "The word {}")
    return text if knows(model, text.partition("{}")[0]) else "{}"


def template_asked(asked: Asked, model: "LensModel") -> dict[str, Any]:
    """Draw what asks for the text, and where in it states are read."""
    if asked.found.of_positions:
        return {}
    template = state.linked(
        st.text_input,
        "In the text",
        "template",
        text_of(asked.variable, model),
        read=_some,
        help="Where states are read, each value stands at {}. Rows of the embeddings need no text.",
        width=260,
    )
    read = state.linked(
        st.selectbox,
        "Read",
        "read",
        "value",
        read=state.one_of(READ),
        options=list(READ),
        format_func=READ.__getitem__,
        help="At the value's last token, or at the last token (or mask) of the text.",
        width=180,
    )
    return {"template": template, "read": read}


def hints(asked: Asked, model: "LensModel") -> None:
    """What to know of the values in this model, and a way out where their tokens are several."""
    if not asked.found.left_out:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        offer = "digits" if asked.found.unit == "numbers" else begin(model)
        st.caption(
            f":material/info: {plain(asked.found.said)} Only states in the text are looked at, at each value's last "
            "token, which tells values apart as far as the model has put their tokens together."
        )
        if offer != asked.variable and offer in offered(model):
            st.button(f"Take {offer}", key="fourier:offer", on_click=take, args=(offer,))


def examples(model: "LensModel", mark: Callable[[str], str]) -> None:
    """Variables to try with one click, each in its text; `mark` says what the address says of a run of one."""
    with st.container(horizontal=True):
        for name in offered(model):
            label = f"{name.capitalize()}: {text_of(name, model).format('…')}"
            st.button(plain(label), key=f"fourier:try:{name}", on_click=take, args=(name,), kwargs={"ran": mark(name)})


def take(name: str, ran: str | None = None) -> None:
    """Choose a variable with its own text."""
    state.put(variable=name, template=None, read=None, place=None, frequency=None, ran=ran)


def run_button(option: str, one: Loaded, params: Mapping[str, Any], label: str = "Run", *, model: str = "") -> bool:
    """Draw a button; whether just these parameters have been run. The address keeps it under `option`.

    `model` is what is run where that is not the model that is shown.
    """
    mark = fingerprint(model or one.name, dict(params))
    ran = state.get(option) == mark

    def run() -> None:
        files.allow(*params.values())
        state.put(**{option: mark})

    st.button(
        label,
        key=f"fourier:{option}",
        type="secondary" if ran else "primary",
        icon=":material/play_arrow:",
        disabled=ran,
        on_click=run,
    )
    return ran


def knows(model: "LensModel", text: str) -> bool:
    """Whether a text has tokens in this model."""
    from workbench.inputs import tokenizer_of

    tokenizer = tokenizer_of(model)
    if tokenizer is None or not text.strip():
        return tokenizer is not None
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return len(ids) > 0 and getattr(tokenizer, "unk_token_id", None) not in ids


def _fits(name: str, model: "LensModel") -> bool:
    """Whether the values are one token each; of numbers, whether there are more than digits."""
    from workbench.variables import variable

    try:
        found = variable(name, model)
    except WorkbenchError:
        return False
    return found.ids is not None and (name != "numbers" or len(found) > 10)


def _some(text: str) -> str:
    if not text.strip():
        raise ValueError(text)
    return text.strip() if "{" not in text else text
