"""A variable by its name, as a range, as a list, from a file, or as token ids."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.corpora.text_lines import inputs as lines_of
from workbench.errors import BadFile, BadInput, UnknownName
from workbench.variables.builtin import BUILTIN
from workbench.variables.form import Variable
from workbench.variables.tokens import with_ids, with_tokens

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

FEWEST, MOST = 3, 4096
"""Values a variable may have."""
PLACES = 64
"""Positions unless a number of them is asked for."""
HOW = (
    "a range ('0-99', or '0-100:10' in steps), a list ('red,green,blue'), the path of a text file with one value a"
    " line, or token ids ('ids:0-58')"
)
_RANGE = re.compile(r"(-?\d+)\s*-\s*(-?\d+)(?:\s*:\s*(\d+))?")
_PLACES = re.compile(r"positions\s*:\s*(\d+)")


def variable(spec: str | Path | Sequence[str], model: "LensModel | None" = None) -> Variable:
    """The values that a name, a range, a list or a file stands for, with their tokens in `model`.

    `spec` is one of `workbench.variables.names()`; a range "0-99" (the end belongs to it) or "0-100:10"; a list
    "red,green,blue", or of strings; the path of a text file, one value a line; "ids:0-58" or "ids:3,5,9", token ids.
    Of each value the token with or without a space before it is taken, whichever form gives more values one token, with
    it where both do; `spaced` says which. Where some value is several tokens `ids` is None, and `left_out` names it;
    `tokens()` then raises, and states can be read in a template. Lists of numbers must be evenly spaced.
    """
    found = _named(spec, model)
    if not FEWEST <= len(found) <= MOST:
        more = f"{len(found)}" + (f" ({', '.join(map(repr, found.labels))})" if found.labels and len(found) < 3 else "")
        raise BadInput(f"A variable has {FEWEST} to {MOST} values, and {found.name} has {more}.")
    if (double := next((label for label in found.labels if found.labels.count(label) > 1), None)) and not found.by_id:
        raise BadInput(f"{found.name} has the value {double!r} twice.")
    if model is None or found.of_positions or found.by_id:
        return found
    return with_tokens(found, model, shortened=found.name == "numbers")


def _named(spec: str | Path | Sequence[str], model: "LensModel | None") -> Variable:
    if not isinstance(spec, str | Path):
        if not isinstance(spec, Sequence) or not all(isinstance(item, str) for item in spec):
            made = f" Give what it was made from: {spec.name!r}." if isinstance(spec, Variable) else ""
            raise BadInput(f"A variable is one of {', '.join(BUILTIN)}; {HOW}; not {type(spec).__name__}.{made}")
        return _of_list(tuple(spec), ",".join(spec))
    text = str(spec).strip()
    if text == "positions" or _PLACES.fullmatch(text):
        return _places(text, model)
    if text in BUILTIN:
        given = BUILTIN[text]
        plain = _of_list(given.texts, text)
        return replace(plain, unit=given.unit, cyclic=given.cyclic)
    if text.startswith("ids:"):
        return with_ids(text, _ids(text), model)
    if whole := _RANGE.fullmatch(text):
        return _of_range(text, whole)
    if (path := _path(text)) is not None:
        return _of_list(_lines(path), path.name)
    if "," in text:
        return _of_list(tuple(item.strip() for item in text.split(",")), text)
    raise BadInput(f"{UnknownName('variable', text, BUILTIN)} A variable may also be {HOW}.")


def _of_list(items: tuple[str, ...], name: str) -> Variable:
    if not all(item.strip() for item in items):
        raise BadInput(f"{name!r} has an empty value: write one thing between two commas.")
    numbers = _numbers(items)
    if numbers is None:
        return Variable(name=name, labels=items, texts=items, values=tuple(map(float, range(len(items)))))
    spacing = _spacing(numbers, items, name)
    return Variable(name=name, labels=items, texts=items, values=numbers, spacing=spacing, unit="numbers")


def _numbers(items: tuple[str, ...]) -> tuple[float, ...] | None:
    """The numbers that the items are; None where one of them is a word."""
    try:
        values = tuple(float(item) for item in items)
    except ValueError:
        return None
    if any(map(isfinite, values)) and (odd := [x for x, v in zip(items, values, strict=True) if not isfinite(v)]):
        raise BadInput(f"{odd[0]!r} stands among numbers and is none: write a finite number, or leave it out.")
    return values if all(map(isfinite, values)) else None


def _spacing(values: tuple[float, ...], items: tuple[str, ...], name: str) -> float:
    steps = [after - before for before, after in pairwise(values)] or [1.0]
    for at, step in enumerate(steps):
        if step <= 0:
            raise BadInput(
                f"The numbers of {name} must rise, the smallest first, each once: {items[at + 1]} comes after"
                f" {items[at]}."
            )
        if abs(step - steps[0]) > 1e-6 * abs(steps[0]):
            raise BadInput(
                f"The numbers of {name} are not evenly spaced: {items[0]} to {items[1]} is a step of {steps[0]:g}, and"
                f" {items[at]} to {items[at + 1]} one of {step:g}. A spectrum needs equal steps."
            )
    return steps[0]


def _of_range(text: str, found: re.Match[str]) -> Variable:
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if step < 1 or last < first:
        raise BadInput(f"{text!r} is no range: write the smaller end first and a step of 1 or more, as in 0-100:10.")
    if (last - first) // step >= MOST:
        raise BadInput(f"A variable has {FEWEST} to {MOST} values, and {text} has {(last - first) // step + 1}.")
    return _of_list(tuple(map(str, range(first, last + 1, step))), text)


def _ids(text: str) -> tuple[int, ...]:
    inner = text.removeprefix("ids:").strip()
    if whole := _RANGE.fullmatch(inner):
        return tuple(int(item) for item in _of_range(inner, whole).labels)
    try:
        return tuple(int(item) for item in inner.split(","))
    except ValueError:
        raise BadInput(f"{text!r} does not list token ids: write ids:0-58, or ids:3,5,9.") from None


def _places(text: str, model: "LensModel | None") -> Variable:
    given = _PLACES.fullmatch(text)
    most = model.n_ctx if model is not None else None
    count = int(given[1]) if given else min(PLACES, most or PLACES)
    if most is not None and count > most:
        raise BadInput(f"{model.name} reads {most} positions, not {count}." if model else "")
    if count > MOST:
        raise BadInput(f"A variable has {FEWEST} to {MOST} values, and {text} has {count}.")
    return Variable(
        name=text,
        labels=tuple(map(str, range(count))),
        texts=(),
        values=tuple(map(float, range(count))),
        unit="positions",
        model=model.name if model else "",
    )


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(lines_of(path.read_bytes().decode("utf-8-sig"))[0])
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not text in UTF-8: byte {error.start} cannot be read. Save it as UTF-8.") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error


def _path(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None
