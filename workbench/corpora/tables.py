"""Inputs from a table on this disk: .csv, .tsv and .jsonl files with a column of texts."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from workbench.corpora import text_lines
from workbench.corpora.columns import group_column, input_column
from workbench.corpora.drawing import Take
from workbench.corpora.form import Corpus
from workbench.errors import BadFile, BadInput

LONGEST = 2**31 - 1  # characters in one cell: what the csv module can be told on every machine
KINDS = (".csv", ".tsv", ".jsonl")


def table(path: Path, text: str, reads: str, column: str | None, take: Take) -> Corpus:
    """The corpus of a table whose `text` was read from `path`; rows without a text are left out and counted."""
    rows = _jsonl(path, text) if path.suffix.lower() == ".jsonl" else _csv(path, text)
    if not rows:
        raise BadInput(f"{path} holds no rows{' below its header' if text.strip() else ''}.")
    names = list(dict.fromkeys(name for row in rows for name in row if isinstance(name, str)))
    fitting = [n for n in names if any(isinstance(row.get(n), str) for row in rows)]
    chosen = input_column(names, fitting, reads, column, path.name)
    group = group_column(names, chosen)
    kept = [row for row in rows if isinstance(row.get(chosen), str) and str(row[chosen]).strip()]
    if not kept:
        raise BadInput(f"The column {chosen!r} of {path} holds no text.")
    picked = [kept[i] for i in take(len(kept))]
    bad = len(rows) - len(kept)
    beyond = sum(any(cell.strip() for cell in row.get(None) or ()) for row in rows)  # csv puts them under None
    notes = [
        f"{bad} row{'s' * (bad != 1)} without a text left out." if bad else "",
        f"Rows with more cells than the header has, which were not read: {beyond}." if beyond else "",
    ]
    return Corpus(
        name=path.name,
        reads=reads,
        inputs=tuple(str(row[chosen]).strip() for row in picked),
        groups=tuple("" if group is None or row.get(group) is None else str(row[group]) for row in picked),
        note=" ".join(filter(None, notes)),
    )


def _csv(path: Path, text: str) -> Sequence[Mapping[Any, Any]]:
    csv.field_size_limit(max(csv.field_size_limit(), min(len(text), LONGEST)))
    try:
        rows = csv.DictReader(StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        return list(rows)
    except csv.Error as error:
        raise BadFile(f"{path} is not a table: {error}.") from error


def _jsonl(path: Path, text: str) -> Sequence[Mapping[Any, Any]]:
    rows = []
    for number, line in enumerate(text_lines.split(text), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadFile(f"Line {number} of {path} is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise BadFile(f"Line {number} of {path} is not a JSON object with named fields.")
        rows.append(row)
    return rows
