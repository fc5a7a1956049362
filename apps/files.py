"""Files that a link names: none is read before the user, in this session, has said so."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import streamlit as st

from apps.text import plain
from workbench.errors import BadInput


class NotOpened(BadInput):
    """A file that only a link has named. The page offers to open it."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text} is a file or folder on this computer, and none is opened from a link.")
        self.text = text


def check(*values: Any) -> None:
    """Raise `NotOpened` for a text that names a file which the user has not opened in this session."""
    for text in _texts(values):
        if closed(text):
            raise NotOpened(text)


def closed(text: str) -> bool:
    """Whether a text names a file, and only a link has said so."""
    return text not in _opened() and any(map(_is_there, (text, text.rpartition(":")[0])))


def allow(*values: Any) -> None:
    """The user has chosen these: what they name may be read in this session."""
    _opened().update(_texts(values))


def offer(error: NotOpened, where: str) -> None:
    """Say that a file is not read from a link, and let the user open it."""
    st.info(plain(f"{error} Open it if you know what it is."), icon=":material/draft:")
    st.button("Open the file", key=f"open:{where}:{error.text}", on_click=allow, args=(error.text,))


def _opened() -> set[str]:
    return st.session_state.setdefault("files:opened", set())


def _texts(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        if isinstance(value, str):
            yield value.strip()
        elif isinstance(value, tuple | list):
            yield from _texts(value)


def _is_there(text: str) -> bool:
    try:
        return bool(text.strip()) and Path(text.strip()).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # a whole sentence is too long for a name; "~who" is nobody's home
        return False
