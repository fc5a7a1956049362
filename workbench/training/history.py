"""What was measured while models were trained, kept beside them as JSON: one line for each row."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import BadFile, BadInput
from workbench.files import write_atomically

FIGURES = 4
"""Significant figures that are kept of a number."""


def write_history(rows: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Write rows of numbers and words, four figures of each number that is not whole; what is undefined is null."""
    try:
        lines = [json.dumps({name: _short(value) for name, value in row.items()}, allow_nan=False) for row in rows]
    except TypeError as error:
        raise BadInput(f"A history has rows of numbers and words, and these are not: {error}.") from error
    return write_atomically(Path(path), "[\n" + ",\n".join(lines) + "\n]\n")


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """The rows that `write_history` wrote; `pandas.DataFrame` makes a table of them."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} is no history of a training: {error}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadFile(f"{path} is no history of a training: it holds no list of rows.")
    return rows


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return None if value != value or abs(value) == float("inf") else float(f"{value:.{FIGURES}g}")
