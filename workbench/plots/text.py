"""Text as plotly may show it: nothing a model or a user wrote is ever read as markup; spaces of tokens are seen."""

import unicodedata

_SHOWN = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥", "\N{NO-BREAK SPACE}": "⍽"}
# Plotly reads <b>, <a href> and <br> as markup, and $...$ as LaTeX where a page has MathJax; it decodes entities.
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", '"': "&quot;", "'": "&#39;"}


def plain(token: object, *, limit: int | None = None) -> str:
    """`token` with markup escaped and white space made visible, cut to `limit` characters if given."""
    text = str(token)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(_ESCAPED.get(c, c) for c in visible(text)) or "(empty)"


def sentence(text: object) -> str:
    """`text` of a title, an axis or a legend: escaped like a token, but a space between words stays a space."""
    shown, inner = plain(text), len(str(text).strip(" "))
    if not inner:
        return shown
    start = len(str(text)) - len(str(text).lstrip(" "))
    end = len(str(text)) - len(str(text).rstrip(" "))
    return shown[:start] + shown[start : len(shown) - end].replace(_SHOWN[" "], " ") + shown[len(shown) - end :]


def visible(token: object) -> str:
    """`token` with white space and control characters made visible: safe on a terminal, not in HTML."""
    return "".join(map(_character, str(token)))


def _character(c: str) -> str:
    if c in _SHOWN:
        return _SHOWN[c]
    if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs"):  # controls, text direction, odd spaces
        return f"\\u{ord(c):04x}"
    return c
