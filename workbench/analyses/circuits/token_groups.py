"""Groups of tokens by name: ends of the prompt, positions, ranges, or any text in it."""

import re
from collections.abc import Sequence

from workbench.errors import BadInput

NAMES = ("all", "first", "answer", "last", "others", "patches")
_POSITIONS = re.compile(r"-?\d+(\s*-\s*\d+)?(\s*,\s*-?\d+(\s*-\s*\d+)?)*")
_SPECIAL = re.compile(r"CLS|DIST|REG \d+")


def group(name: str, labels: Sequence[str], answer: int | None) -> tuple[int, ...]:
    """The positions a name stands for, in order.

    all; first; last; answer (where the answer is read); others (all but the first and the answer's); patches (of an
    image: all but its class and register tokens); positions and ranges ("3", "2-5", "1, 4-6, -1"); else a text: the
    tokens that hold each place where the prompt spells it. `answer` is None where no answer is read on that side;
    the group is then empty, as others are in a prompt that has none.
    """
    size, name = len(labels), name if name.strip() else ""
    known = {
        "all": range(size),
        "first": range(1),
        "last": range(size - 1, size),
        "answer": [] if answer is None else [answer],
        "others": [i for i in range(1, size) if i != answer],
        "patches": [i for i, label in enumerate(labels) if not _SPECIAL.fullmatch(label)],
    }
    if name.strip() in known:
        return tuple(known[name.strip()])
    return _numbered(name.strip(), size) if _POSITIONS.fullmatch(name.strip()) else _spelled(name, labels)


def _numbered(text: str, size: int) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-") if not part.strip().startswith("-") else (part.strip(), "", "")
        low, high = int(first), int(last or first)
        if not (-size <= low < size and -size <= high < size) or (last and high < low):
            raise BadInput(f"There are no positions {part.strip()!r}: the prompt has 0 to {size - 1}.")
        found |= {i % size for i in range(low, high + 1)}
    return tuple(sorted(found))


def _spelled(text: str, labels: Sequence[str]) -> tuple[int, ...]:
    """Tokens that overlap any place where the labels, laid end to end, spell the text."""
    ends, whole = [], ""
    for label in labels:
        whole += label
        ends.append(len(whole))
    found: set[int] = set()
    at = whole.find(text) if text else -1
    while at >= 0:
        stop = at + len(text)
        found |= {i for i, (a, b) in enumerate(zip([0, *ends], ends, strict=False)) if a < stop and b > at}
        at = whole.find(text, at + 1)
    if not found:
        raise BadInput(
            f"{text!r} is no group of tokens: name one of {', '.join(NAMES)}, positions (3, 2-5), or a text of the"
            f" prompt. Its tokens are {_shown(labels)}."
        )
    return tuple(sorted(found))


def _shown(labels: Sequence[str]) -> str:
    text = "|".join(labels)
    return repr(text if len(text) <= 200 else f"{text[:200]}…")
