"""Text that came from a model or a user, made safe for Streamlit's Markdown and readable as a token."""

import re

from workbench.errors import NotDone

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&@])")
_MARKS = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥", "\N{NO-BREAK SPACE}": "⍽"}  # as in workbench.plots


def plain(text: object) -> str:
    """`text` with every character that Markdown, HTML or a Streamlit directive would act on escaped, on one line.

    What a model does not do is said without what Python takes to go on: a page has a button or a switch for it.
    """
    text = text.reason if isinstance(text, NotDone) else text
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def visible(token: str) -> str:
    """A token with its spaces and control characters to be seen: " the" is "␣the"."""
    return "".join(_MARKS.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in token) or "∅"


def short(text: str, length: int) -> str:
    """`text`, or its beginning with an ellipsis when longer than `length`."""
    return text if len(text) <= length else text[: length - 1] + "…"
