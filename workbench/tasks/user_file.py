"""A task from the user's own table: one example a row, in the columns clean, corrupted, target and foil."""

import csv
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

from workbench.corpora.drawing import order
from workbench.errors import BadFile, BadInput
from workbench.tasks.draft import Draft

COLUMNS = ("clean", "corrupted", "target", "foil")
TAG = "tag"
BETWEEN = "|"
"""Between several answers of one cell."""
HOW = (
    "a table with the columns clean, corrupted, target and foil (and tag, if there are kinds of examples), separated by"
    " commas, semicolons or tabs, with several answers of a cell separated by |"
)
_OPENING = set("([{<\"'`=-/#$€£_@\\")  # after these no space is expected


def rows(path: Path) -> list[Draft]:
    """The examples of a file in order, with answers as they are typed."""
    text = _text(path)
    header = text.lstrip().partition("\n")[0]
    between = max(",;\t", key=header.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=between, strict=True)
    found: list[Draft] = []
    names: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _checked([cell.strip().lower() for cell in cells], path)
            else:
                found.append(_row(cells, names, f"Row {len(found) + 1} of {path.name} (line {reader.line_num})"))
    except csv.Error as error:
        raise BadFile(f"{path} is not a table: line {reader.line_num}: {error}.") from error
    if not found:
        raise BadInput(f"{path} holds no rows{' below its header' if names else ''}. A task is {HOW}.")
    return found


def drawn(found: list[Draft], seed: int) -> Iterator[Draft]:
    """All rows, in a random order."""
    for place in order(len(found), seed):
        yield found[place]


def spaced(draft: Draft) -> Draft:
    """The same with a space before each answer that has none."""
    return Draft(
        clean=draft.clean,
        corrupted=draft.corrupted,
        targets=tuple(_space(answer) for answer in draft.targets),
        foils=tuple(_space(answer) for answer in draft.foils),
        tag=draft.tag,
    )


def expects_a_space(draft: Draft) -> bool:
    """Whether an answer would be typed after a space: not where there is one, nor after a bracket, nor in a number."""
    last, first = str(draft.clean)[-1:], str(draft.targets[0])[:1]
    return not (last.isspace() or last in _OPENING or (last.isdigit() and first.isdigit()))


def _space(answer: str | int) -> str:
    return str(answer) if str(answer).startswith(" ") else f" {answer}"


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not text in UTF-8: byte {error.start} cannot be read. Save it as UTF-8.") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error


def _checked(names: list[str], path: Path) -> list[str]:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise BadInput(
            f"{path} has no column {' and no column '.join(missing)} in its first line, which has {len(names)} "
            f"cell{'s' * (len(names) != 1)}. A task is {HOW}."
        )
    if double := next((name for name in names if name and names.count(name) > 1), None):
        raise BadInput(f"{path} has two columns called {double!r}.")
    return names


def _row(cells: list[str], names: list[str], where: str) -> Draft:
    if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
        raise BadInput(
            f"{where} has {len(cells)} cells, and the header {len(names)}: put cells that hold a separator in quotes."
        )
    row: Mapping[str, str] = dict(zip(names, cells, strict=False))
    for name in COLUMNS:
        if not row.get(name, "").strip():
            raise BadInput(f"{where} has nothing in the column {name}.")
    answers = {name: tuple(row[name].split(BETWEEN)) for name in ("target", "foil")}
    for name, parts in answers.items():
        if not all(part.strip() for part in parts):
            raise BadInput(f"{where} has an empty answer in {name}: {row[name]!r}.")
    if row["clean"] == row["corrupted"]:
        raise BadInput(f"{where} has the same text twice: clean and corrupted must differ.")
    if both := {part.strip() for part in answers["target"]} & {part.strip() for part in answers["foil"]}:
        raise BadInput(f"{where} has {sorted(both)[0]!r} both as target and as foil.")
    return Draft(
        clean=row["clean"],
        corrupted=row["corrupted"],
        targets=answers["target"],
        foils=answers["foil"],
        tag=row.get(TAG, "").strip(),
    )
