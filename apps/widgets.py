"""One Streamlit widget for each kind of parameter. The only place that maps types to widgets."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from workbench.corpora.text_lines import split
from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel
    from workbench.registry import Param

_LONGEST_SLIDER = 200  # steps; a longer range is typed
_MANY = 400  # sites a menu can hold before it gets slow


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a form knows beyond the declaration: the model, and the tokens of the prompt if they are known."""

    model: "LensModel"
    tokens: tuple[str, ...] = ()


def label_of(p: "Param") -> str:
    """The name of a parameter as a person reads it."""
    return p.name.replace("_", " ").capitalize()


def ask(p: "Param", text: str, context: Context, *, key: str) -> Any:
    """A widget for `p` that starts at the value that `text` stands for, and its value."""
    start = from_text(p, text)
    return _widget(p)(p, start, context, key)


def to_text(p: "Param", value: Any) -> str:
    """A value as it stands in the address; the empty text is the default."""
    if value is None or (not p.required and value == p.default):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple | list):
        return json.dumps(list(value), ensure_ascii=False)
    return json.dumps(value)


def from_text(p: "Param", text: str) -> Any:
    """The value that `text` stands for; the default when it is empty or does not fit."""
    default = None if p.required else p.default
    if text == "":
        return default
    try:
        if p.type is tuple:
            return p.check(tuple(json.loads(text)))
        return p.check(text if p.type in (str, object) else json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return default


Widget = Callable[["Param", Any, Context, str], Any]


def _widget(p: "Param") -> Widget:
    if p.kind in _BY_KIND:
        return _BY_KIND[p.kind]
    if p.type is tuple:
        return _many
    if p.choices:
        return _choice
    return {bool: _switch, int: _number, float: _number}.get(p.type, _line)


def _help(p: "Param") -> str | None:
    from apps.text import plain

    return plain(p.help) or None


def _prompt(p: "Param", start: Any, context: Context, key: str) -> Any:
    return st.text_area(label_of(p), str(start or ""), key=key, help=_help(p), height=80)


def _corpus(p: "Param", start: Any, context: Context, key: str) -> Any:
    hint = "example, brown, hf:OWNER/NAME, a file, a folder, or one text a line"
    typed = st.text_area(label_of(p), str(start or ""), key=key, help=_help(p), placeholder=hint, height=80)
    return typed if "\n" in typed.strip() else typed.strip()


def _task(p: "Param", start: Any, context: Context, key: str) -> Any:
    from workbench.tasks import names

    options = list(dict.fromkeys([*names(), *([str(start)] if start else [])]))
    at = options.index(str(start)) if start else None if p.optional else 0
    hint = "a name, or the path of a table with the columns clean, corrupted, target, foil"
    return st.selectbox(label_of(p), options, at, key=key, help=_help(p), placeholder=hint, accept_new_options=True)


def _variable(p: "Param", start: Any, context: Context, key: str) -> Any:
    from workbench.variables import names

    options = list(dict.fromkeys([*names(), *([str(start)] if start else [])]))
    at = options.index(str(start)) if start else None if p.optional else 0
    hint = "a name, 0-99, red,green,blue, the path of a file with one value a line, or ids:0-58"
    return st.selectbox(label_of(p), options, at, key=key, help=_help(p), placeholder=hint, accept_new_options=True)


def _line(p: "Param", start: Any, context: Context, key: str) -> Any:
    text = st.text_input(label_of(p), "" if start is None else str(start), key=key, help=_help(p))
    return None if text == "" and p.optional else text


def _token(p: "Param", start: Any, context: Context, key: str) -> Any:
    hint = "the model's own answer" if p.optional else "one token, such as  Paris"
    return st.text_input(label_of(p), start or "", key=key, help=_help(p), placeholder=hint) or None


def _choice(p: "Param", start: Any, context: Context, key: str) -> Any:
    options = [*([None] if p.optional else []), *p.choices]
    at = options.index(start) if start in options else 0
    return st.selectbox(
        label_of(p), options, at, key=key, help=_help(p), format_func=lambda c: "—" if c is None else str(c)
    )


def _attention(p: "Param", start: Any, context: Context, key: str) -> Any:
    options = list(context.model.attentions)
    if not options:
        return None
    at = options.index(start) if start in options else 0
    return st.selectbox(label_of(p), options, at, key=key, help=_help(p))


def _switch(p: "Param", start: Any, context: Context, key: str) -> Any:
    return st.checkbox(label_of(p), bool(start), key=key, help=_help(p))


def _number(p: "Param", start: Any, context: Context, key: str) -> Any:
    low, high = (p.within.low, p.within.high) if p.within else (None, None)
    return _bounded(p, start, low, high, key)


def _bounded(p: "Param", start: Any, low: Any, high: Any, key: str, text: str = "") -> Any:
    kind = float if p.type is float else int
    low, high = (None if v is None else kind(v) for v in (low, high))
    start = None if start is None and p.optional else kind(start if start is not None else low or 0)
    if start is not None and low is not None and high is not None:
        start = min(max(start, low), high)
        if kind is int and low < high <= low + _LONGEST_SLIDER:
            return st.slider(text or label_of(p), low, high, start, key=key, help=_help(p))
    step = 1 if kind is int else None
    form = None if kind is int else "%.6g"
    return st.number_input(text or label_of(p), low, high, start, step=step, format=form, key=key, help=_help(p))


def _layer(p: "Param", start: Any, context: Context, key: str) -> Any:
    return _counted(p, start, context.model.n_blocks, key)


def _head(p: "Param", start: Any, context: Context, key: str) -> Any:
    return _counted(p, start, context.model.n_heads, key)


def _position(p: "Param", start: Any, context: Context, key: str) -> Any:
    if p.type is tuple:
        return _many(p, start, context, key)
    count = len(context.tokens)
    if not count:
        return st.number_input(label_of(p), value=int(start or 0), step=1, key=key, help=_help(p))
    start = (start if start is not None else -1) % count if start is None or -count <= start < count else count - 1

    def name(i: int) -> str:
        return f"{i}  {context.tokens[i]}"

    return st.selectbox(label_of(p), range(count), start, key=key, help=_help(p), format_func=name)


def _counted(p: "Param", start: Any, count: int, key: str) -> Any:
    if p.type is tuple:
        return _many(p, start, Context(model=None), key)  # pyright: ignore[reportArgumentType]
    if p.optional:
        options = [None, *range(count)]
        at = options.index(start % count) if start is not None else 0
        name = lambda i: "all" if i is None else str(i)  # noqa: E731
        return st.selectbox(label_of(p), options, at, key=key, help=_help(p), format_func=name)
    start = start % count if start is not None and -count <= start < count else 0
    if count == 1:
        return st.selectbox(label_of(p), [0], key=key, help=_help(p))
    return st.slider(label_of(p), 0, count - 1, start, key=key, help=_help(p))


def _sites(p: "Param", start: Any, context: Context, key: str) -> Any:
    names = [name for name in context.model.sites][:_MANY] if len(context.model.sites) <= _MANY else []
    if not names:
        return _many(p, start, context, key)
    chosen = [name for name in start or () if name in names]
    return tuple(st.multiselect(label_of(p), names, chosen, key=key, help=_help(p), accept_new_options=True))


def _many(p: "Param", start: Any, context: Context, key: str) -> Any:
    """A list: chosen where there are choices, else typed, one a line."""
    if p.choices:
        chosen = [item for item in start or () if item in p.choices]
        return tuple(st.multiselect(label_of(p), p.choices, chosen, key=key, help=_help(p)))
    typed = st.text_area(
        f"{label_of(p)}, one a line", "\n".join(map(str, start or ())), key=key, help=_help(p), height=80
    )
    lines = [line for line in split(typed) if line.strip()]
    if not lines and p.optional:
        return None
    if p.item not in (int, float):
        return tuple(lines)
    try:
        return tuple(p.item(line) for line in lines)
    except ValueError:
        raise BadInput(f"{label_of(p)}: each line must be {p.allowed.removeprefix('a list, each ')}.") from None


_BY_KIND: dict[str, Widget] = {
    "prompt": _prompt,
    "corpus": _corpus,
    "task": _task,
    "variable": _variable,
    "token": _token,
    "sites": _sites,
    "attention": _attention,
    "layer": _layer,
    "head": _head,
    "position": _position,
}
