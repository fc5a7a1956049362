"""A session as a file: what was looked at and how, without results; opening it computes them again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import BadFile

FORMAT = "workbench-session"
VERSION = 1
_LARGEST = 2_000_000  # characters; a session is text typed by a person


@dataclass(frozen=True, kw_only=True)
class Session:
    """The state of the app as plain text: page, model, prompt, the options of each page, saved prompts."""

    page: str = ""
    model: str = ""
    prompt: str = ""
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()


def to_text(session: Session) -> str:
    """The session file."""
    return json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "page": session.page,
            "model": session.model,
            "prompt": session.prompt,
            "options": {page: dict(values) for page, values in session.options.items()},
            "prompts": list(session.prompts),
        },
        indent=1,
        ensure_ascii=False,
        allow_nan=False,
    )


def from_bytes(data: bytes, *, name: str = "The file") -> Session:
    """Read back a session file. Anything else raises `BadFile` with the reason."""
    if len(data) > _LARGEST:
        raise BadFile(f"{name} is not a session: it is larger than {_LARGEST // 1_000_000} MB.")
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name} is not a session: it is not readable JSON ({type(error).__name__}).") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise BadFile(f"{name} is not a session of the workbench; save one with 'Save session' on the start page.")
    if value.get("version") != VERSION:
        raise BadFile(f"{name} is a session of another version of the workbench; this one reads version {VERSION}.")
    options = _mapping(value.get("options", {}), "options", name)
    return Session(
        page=_text(value.get("page", ""), "page", name),
        model=_text(value.get("model", ""), "model", name),
        prompt=_text(value.get("prompt", ""), "prompt", name),
        options={
            page: {key: _text(text, key, name) for key, text in _mapping(one, page, name).items()}
            for page, one in options.items()
        },
        prompts=tuple(_text(text, "prompts", name) for text in _list(value.get("prompts", []), "prompts", name)),
    )


def _text(value: Any, what: str, name: str) -> str:
    if not isinstance(value, str):
        raise BadFile(f"{name} is a damaged session: {what[:40]!r} should be text.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadFile(f"{name} is a damaged session: {what[:40]!a} holds half a character.") from None
    return value


def _mapping(value: Any, what: str, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadFile(f"{name} is a damaged session: {what[:40]!r} should be a table of names and texts.")
    return {_text(key, "a name", name): one for key, one in value.items()}


def _list(value: Any, what: str, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadFile(f"{name} is a damaged session: {what!r} should be a list.")
    return value
