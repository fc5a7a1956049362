"""Mounts the small browser components that lie beside this file; token text reaches them as data, never as HTML."""

from functools import cache
from pathlib import Path
from typing import Any

from streamlit.components import v2

_FOLDER = Path(__file__).parent


@cache
def _source(name: str) -> tuple[str, str]:
    css = (_FOLDER / "base.css").read_text("utf-8")
    own = _FOLDER / f"{name}.css"
    if own.is_file():
        css += own.read_text("utf-8")
    return (_FOLDER / f"{name}.js").read_text("utf-8"), css


def component(name: str) -> Any:
    """The mounting command of `name`.js. Registered anew each run: the same definition twice is no change."""
    js, css = _source(name)
    return v2.component(f"workbench_{name}", html='<div class="root"></div>', css=css, js=js)
