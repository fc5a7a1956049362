"""Inputs that are already in memory: lists of texts, pictures or sounds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.corpora.form import Corpus
from workbench.errors import BadInput

Take = Callable[[int], Sequence[int]]


def listed(source: Any, reads: str, take: Take) -> Corpus:
    """The corpus of a list; empty texts are left out and counted, anything else that does not fit is refused."""
    if isinstance(source, bytes | bytearray) or not isinstance(source, Sequence):
        raise BadInput(f"A corpus is made of a name, a path or a list, not of {_kind(source)}.")
    items = [checked(x, reads, number) for number, x in enumerate(source)]
    kept = [x for x in items if not (isinstance(x, str) and not x.strip())]
    if not kept:
        raise BadInput("The list holds nothing to read. Give at least one input.")
    empty = len(items) - len(kept)
    return Corpus(
        name="list",
        reads=reads,
        inputs=tuple(kept[i] for i in take(len(kept))),
        note=f"{empty} empty texts were left out." if empty else "",
    )


def checked(x: Any, reads: str, number: int) -> Any:
    """One input as models of that kind take it, or a `BadInput` that says which one is wrong."""
    if reads == "text" and isinstance(x, str):
        return x
    if reads == "image" and (_is_picture(x) or isinstance(x, str | Path)):
        return Path(x) if isinstance(x, str) and x != "example" else x
    if reads == "audio" and (isinstance(x, str | Path) or getattr(x, "ndim", 0) == 1):
        return Path(x) if isinstance(x, str) and x != "example" else x
    if reads == "text+image":
        if isinstance(x, str):
            return x
        if isinstance(x, Sequence) and len(x) == 2:
            return checked(x[0], "text", number), checked(x[1], "image", number)
    wanted = {
        "text": "a text",
        "image": "the path of an image, a PIL image or an array (height, width, 3)",
        "audio": "the path of a .wav file or a row of samples",
        "text+image": "a pair (text, picture) or 'text @ path'",
    }[reads]
    raise BadInput(f"Input {number} of the list must be {wanted}, not {_kind(x)}.")


def _is_picture(x: Any) -> bool:
    return (hasattr(x, "convert") and hasattr(x, "size")) or (hasattr(x, "tobytes") and getattr(x, "ndim", 0) in (2, 3))


def _kind(x: Any) -> str:
    return "nothing" if x is None else f"{type(x).__name__} {str(x)[:40]!r}"
