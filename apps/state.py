"""What is being looked at: kept in the address bar, so that a copied link opens the same view.

The address holds the model, the prompt and the options of the page. An address that a user opens, edits or goes back
to wins over what the session remembers; a bare one (a click in the menu) takes what the session remembers. Texts that
fit neither the page nor what it looks at leave the address.
"""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import streamlit as st

from apps import files
from apps.session import Session

COMMON = ("model", "prompt")
Value = TypeVar("Value")


def _common() -> dict[str, str]:
    return st.session_state.setdefault("state:common", {})


def _options(page: str) -> dict[str, str]:
    return st.session_state.setdefault("state:pages", {}).setdefault(page, {})


def page() -> str:
    """The name of the page being shown, as in the address."""
    return st.session_state.get("state:page", "")


def begin(name: str, known: Collection[str] | None = None) -> None:
    """Call once at the start of a run: makes the session agree with the address, and the address with the session.

    `known` are the options that the page has; None takes any. An address with others is not one that the page wrote:
    Streamlit leaves such a one behind when a button opens another page. What it does not say is then remembered.
    """
    st.session_state["state:page"] = name
    if name != "start":
        st.session_state["state:last"] = name
    given = dict(st.query_params)
    if given:
        for key in COMMON:
            if key in given and _common().get(key, "") != given[key]:
                _common()[key] = given[key]
                _forget_widget("", key)
        wanted = {key: text for key, text in given.items() if key not in COMMON}
        if known is not None and not set(wanted) <= set(known):
            wanted = {**_options(name), **{key: text for key, text in wanted.items() if key in known}}
        for key in {*wanted, *_options(name)}:
            if wanted.get(key) != _options(name).get(key):
                _forget_widget(name, key)
        st.session_state["state:pages"][name] = wanted
    _publish(name)


def end() -> None:
    """Call once at the end of a run: what turned out not to fit has left the address."""
    _publish(page())


def _publish(name: str) -> None:
    address = {key: text for key, text in {**_common(), **_options(name)}.items() if text != ""}
    if dict(st.query_params) != address:
        st.query_params.from_dict(address)


def get(name: str, default: str = "") -> str:
    """The text kept under `name`: of the whole session for "model" and "prompt", else of this page."""
    return (_common() if name in COMMON else _options(page())).get(name, default)


def put(**values: str | None) -> None:
    """Keep texts in the session and the address; None forgets one. Their widgets take the new value."""
    for name, text in values.items():
        home = _home(name)
        if text is None:
            home.pop(name, None)
        else:
            home[name] = text
        _forget_widget("" if name in COMMON else page(), name)
    _publish(page())


def replace_options(values: dict[str, str]) -> None:
    """Keep exactly these options for this page, as the user has chosen them."""
    files.allow(*values.values())
    old = dict.fromkeys(_options(page()))
    put(**{**old, **values})


def go(name: str, **options: str) -> None:
    """Open another page with options of its own changed; the others stay."""
    merged = {**_options(name), **options}
    address = {key: text for key, text in {**_common(), **merged}.items() if text != ""}
    st.switch_page(st.session_state["state:menu"][name], query_params=address)


def share(other: str, names: Collection[str]) -> None:
    """Have another page remember the options called `names` as this page has them."""
    for name in names:
        text, home = _options(page()).get(name), _options(other)
        if text != home.get(name):
            _forget_widget(other, name)
        if text is None:
            home.pop(name, None)
        else:
            home[name] = text


def key_of(name: str) -> str:
    """The widget key of an option of this page."""
    return f"widget:{'' if name in COMMON else page()}:{name}"


def _forget_widget(home: str, name: str) -> None:
    """Have the widget take its value from the address when next drawn; the browser still holds the old one."""
    st.session_state.setdefault("state:stale", set()).add(f"widget:{home}:{name}")


def linked(
    widget: Callable[..., Any],
    label: str,
    name: str,
    default: Value,
    *,
    read: Callable[[str], Value],
    write: Callable[[Value], str] = str,
    **options: Any,
) -> Value:
    """A widget whose value lives in the address under `name`. A text that `read` refuses leaves the address."""
    value = fitting(name, default, read)
    key, first = _first(key_of(name), value, _shape(widget, options))

    def changed() -> None:
        home, text = _home(name), _text(st.session_state[key], default, read, write)
        if text is None:
            home.pop(name, None)
        else:
            home[name] = text
            files.allow(text)
        _publish(page())

    return widget(label, key=key, on_change=changed, **_beginning(widget, first, options), **options)


def fitting(name: str, default: Value, read: Callable[[str], Value]) -> Value:
    """What the text under `name` stands for. One that `read` refuses is forgotten, and the default counts."""
    text = get(name)
    if text == "":
        return default
    try:
        return read(text)
    except (ValueError, LookupError, TypeError):
        _home(name).pop(name, None)
        return default


def _home(name: str) -> dict[str, str]:
    return _common() if name in COMMON else _options(page())


def _text(value: Any, default: Any, read: Callable[[str], Any], write: Callable[[Any], str]) -> str | None:
    """How a widget's value stands in the address; None for the default, and for what the address would not take."""
    if value is None or value == default:
        return None
    try:
        read(text := write(value))
    except (ValueError, LookupError, TypeError):
        return None
    return text


def _shape(widget: Callable[..., Any], options: dict[str, Any]) -> tuple[Any, ...]:
    """What a widget lets one choose. The browser keeps the label of a choice, so that labels count too."""
    choices = options.get("options", ())
    labels = tuple(map(options.get("format_func", str), choices))
    return getattr(widget, "__name__", ""), labels, options.get("min_value"), options.get("max_value")


def _first(base: str, value: Any, shape: tuple[Any, ...]) -> tuple[str, Any]:
    """The widget's key, and the value it begins with.

    The value is handed over with the widget and not through the session: a run that is cut short would keep the session
    from telling the browser, which would then draw the widget empty. A widget that has another value than the address,
    or other choices than before, gets a new key, and so begins anew.
    """
    stale: set[str] = st.session_state.setdefault("state:stale", set())
    known: dict[str, tuple[int, Any, Any]] = st.session_state.setdefault("state:first", {})
    turn, first, before = known.get(base, (0, value, shape))
    kept = f"{base}#{turn}" in st.session_state
    anew = base in stale or before != shape or (kept and st.session_state[f"{base}#{turn}"] != value)
    if anew or not kept:
        turn, first = turn + anew, value
        known[base] = (turn, first, shape)
        stale.discard(base)
    return f"{base}#{turn}", first


def _beginning(widget: Callable[..., Any], value: Any, options: dict[str, Any]) -> dict[str, Any]:
    """How this kind of widget is told what to begin with."""
    if widget is st.selectbox:
        choices = list(options["options"])
        return {"index": choices.index(value) if value in choices else 0}
    return {"default" if widget is st.segmented_control else "value": value}


def one_of(choices: Any) -> Callable[[str], str]:
    """A reader that accepts only `choices`."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return read


def switch(text: str) -> bool:
    """A reader of "yes" and "no"."""
    return {"yes": True, "no": False}[text]


def yes_no(value: bool) -> str:
    """How a switch stands in the address."""
    return "yes" if value else "no"


def prompts() -> list[str]:
    """The prompts this user has saved."""
    return st.session_state.setdefault("state:prompts", [])


def session() -> Session:
    """Everything the session remembers, as data to be saved."""
    return Session(
        page=st.session_state.get("state:last", ""),  # sessions are saved on the start page
        model=get("model"),
        prompt=get("prompt"),
        options={name: dict(options) for name, options in st.session_state.get("state:pages", {}).items() if options},
        prompts=tuple(prompts()),
    )


def restore(saved: Session) -> None:
    """Take up a saved session in place of this one."""
    st.session_state["state:stale"] = set(st.session_state.get("state:first", {}))
    st.session_state["state:common"] = {
        key: text for key, text in {"model": saved.model, "prompt": saved.prompt}.items() if text
    }
    st.session_state["state:pages"] = {name: dict(options) for name, options in saved.options.items()}
    st.session_state["state:prompts"] = list(saved.prompts)
    _publish(page())
