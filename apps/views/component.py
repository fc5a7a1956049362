"""Mounts the small browser components that lie beside this file; token text reaches them as data, never as HTML."""

from functools import cache
from pathlib import Path
from typing import Any

from streamlit.components import v2

_FOLDER = Path(__file__).parent


@cache
def _source(name: str, parts: tuple[str, ...]) -> tuple[str, str]:
    scripts = ("elements", *(f"{name}_{part}" for part in parts), name)
    styles = ["base.css", f"{name}.css"]
    return _joined([f"{script}.js" for script in scripts]), _joined([s for s in styles if (_FOLDER / s).is_file()])


def _joined(files: list[str]) -> str:
    return "\n".join((_FOLDER / file).read_text("utf-8") for file in files)


def component(name: str, *parts: str) -> Any:
    """The mounting command of `name`.js, with elements.js and any `name`_PART.js above it.

    Registered anew each run: the same definition twice is no change.
    """
    js, css = _source(name, parts)
    return v2.component(f"workbench_{name}", html='<div class="root"></div>', css=css, js=js)
