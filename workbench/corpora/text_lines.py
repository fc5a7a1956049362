"""Several lines of text as one input a line: only what ends a line in a file ends one here."""

import re

_END = re.compile(r"\r\n|\r|\n")


def split(text: str) -> list[str]:
    r"""The lines of a text, which end at \n, \r\n or \r; other marks, such as U+2028 or a form feed, are text."""
    found = _END.split(text)
    return found if found[-1] else found[:-1]


def several(text: str) -> bool:
    """Whether a text has an end of line in it."""
    return _END.search(text) is not None


def inputs(text: str) -> tuple[list[str], str]:
    """The lines that hold something, without spaces around them, and a sentence on how many were blank."""
    found = split(text)
    kept = [line.strip() for line in found if line.strip()]
    blank = len(found) - len(kept)
    return kept, f"{blank} blank line{'s' * (blank != 1)} left out." if blank else ""
