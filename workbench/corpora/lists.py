"""Inputs that are already in memory: lists of texts, pictures or sounds, and data sets with columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.corpora import drawing, files
from workbench.corpora.columns import INPUTS, group_column, input_column
from workbench.corpora.form import Corpus
from workbench.errors import BadInput


def listed(source: Any, reads: str, limit: int | None, seed: int) -> Corpus:
    """The corpus of a list, or of a column of a frame; anything in it that does not fit is refused.

    Left out and counted are empty texts, rows of a column without a value, and pictures or sounds whose file cannot be
    read, which are also named.
    """
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        names = [str(name) for name in source.columns]
        named = next((name for name in INPUTS.get(reads, ()) if name in names), names[0] if names else "text")
        raise BadInput(f"Choose one column of the frame, such as df[{named!r}].tolist(); it has {', '.join(names)}.")
    if isinstance(source, Mapping):
        raise BadInput(f"Choose one part of the mapping, such as data[{str(next(iter(source), 'train'))!r}].")
    gone: set[int] = set()
    if getattr(source, "ndim", None) == 1 and hasattr(source, "tolist"):  # a column of a frame
        gone = {row for row, missing in enumerate(source.isna()) if missing} if hasattr(source, "isna") else set()
        source = source.tolist()
    if isinstance(source, bytes | bytearray) or not isinstance(source, Sequence):
        raise BadInput(f"A corpus is made of a name, a path or a list, not of {_kind(source)}.")
    items = [checked(x, reads, number) for number, x in enumerate(source) if number not in gone]
    whole = [x for x in items if not (isinstance(x, str) and not x.strip())]
    if not whole:
        raise BadInput("The list holds nothing to read. Give at least one input.")
    kept, bad = files.readable([_file_of(x, reads) for x in whole], reads, limit, seed)
    what = "sounds" if reads == "audio" else "images"
    names = [str(_file_of(whole[place], reads)) for place in bad]
    if not kept:
        raise BadInput(f"None of the {len(bad)} {what} of the list can be read, {files.some(names)} among them.")
    empty = len(items) - len(whole)
    notes = [
        f"{len(gone)} row{'s' * (len(gone) != 1)} without a value left out." if gone else "",
        f"{empty} empty text{'s' * (empty != 1)} left out." if empty else "",
        files.left_out(names, what),
    ]
    return Corpus(
        name="list",
        reads=reads,
        inputs=tuple(whole[place] for place in kept),
        note=" ".join(filter(None, notes)),
    )


def _file_of(x: Any, reads: str) -> Path | None:
    """The file that an input is read from, if it is one."""
    if reads == "text+image":
        x = Path(x.partition(" @ ")[2].strip() or "example") if isinstance(x, str) else x[1]
    return x if isinstance(x, Path) and str(x) != "example" else None


def dataset(source: Any, reads: str, limit: int | None, seed: int) -> Corpus:
    """The corpus of a `datasets.Dataset`, or of anything with `column_names`, a length and rows by number.

    Rows without an input are left out and counted; labels are groups.
    """
    names = [str(name) for name in source.column_names]
    if not hasattr(source, "__len__"):
        raise BadInput(f"A {type(source).__name__} has no end: take the rows you want first, into a list.")
    if not len(source):
        raise BadInput("The data set has no rows.")
    fitting = [name for name in names if _fits(_first(source, name), reads)]
    column = input_column(names, fitting, reads, None, "The data set")
    group = group_column(names, column)
    read = _only(source, [column, *([group] if group else [])])
    kept: dict[int, Any] = {}
    places = drawing.order(len(source), seed) if limit else range(len(source))
    missing = 0
    for place in places:
        value = read[place][column]
        if value is None or (isinstance(value, str) and not value.strip()):
            missing += 1
        else:
            kept[place] = checked(value, reads, place)
        if len(kept) == limit:
            break
    if not kept:
        raise BadInput(f"The column {column!r} of the data set is empty.")
    chosen = sorted(kept)
    named = getattr(getattr(source, "features", {}).get(group), "names", ()) if group else ()
    return Corpus(
        name=str(getattr(getattr(source, "info", None), "dataset_name", None) or "data set"),
        reads=reads,
        inputs=tuple(kept[place] for place in chosen),
        groups=tuple(_named(read[place][group], named) for place in chosen) if group else (),
        note=f"{missing} row{'s' * (missing != 1)} without an input left out." if missing else "",
    )


def _only(source: Any, columns: list[str]) -> Any:
    return source.select_columns(columns) if hasattr(source, "select_columns") else source


def _first(source: Any, column: str) -> Any:
    read = _only(source, [column])
    return next((value for i in range(min(len(read), 20)) if (value := read[i][column]) is not None), None)


def _fits(value: Any, reads: str) -> bool:
    return isinstance(value, str) if reads == "text" else reads == "image" and _is_picture(value)


def _named(value: Any, names: Sequence[str]) -> str:
    if value is None:
        return ""
    return str(names[value]) if isinstance(value, int) and 0 <= value < len(names) else str(value)


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
