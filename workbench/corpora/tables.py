"""Inputs from a table on this disk: .csv, .tsv and .jsonl files with a column of texts."""

import csv
import json
from pathlib import Path

from workbench.corpora.columns import group_column, input_column
from workbench.corpora.drawing import Take
from workbench.corpora.form import Corpus
from workbench.errors import BadFile, BadInput

KINDS = (".csv", ".tsv", ".jsonl")


def table(path: Path, text: str, reads: str, column: str | None, take: Take) -> Corpus:
    """The corpus of a table whose `text` was read from `path`; rows without a text are left out and counted."""
    rows = _jsonl(path, text) if path.suffix.lower() == ".jsonl" else _csv(path, text)
    names = list(dict.fromkeys(name for row in rows for name in row))
    fitting = [n for n in names if any(isinstance(row.get(n), str) for row in rows)]
    chosen = input_column(names, fitting, reads, column, path.name)
    group = group_column(names, chosen)
    kept = [row for row in rows if isinstance(row.get(chosen), str) and str(row[chosen]).strip()]
    if not kept:
        raise BadInput(f"The column {chosen!r} of {path} holds no text.")
    picked = [kept[i] for i in take(len(kept))]
    bad = len(rows) - len(kept)
    return Corpus(
        name=path.name,
        reads=reads,
        inputs=tuple(str(row[chosen]).strip() for row in picked),
        groups=tuple("" if group is None or row.get(group) is None else str(row[group]) for row in picked),
        note=f"{bad} row{'s' * (bad != 1)} without a text left out." if bad else "",
    )


def _csv(path: Path, text: str) -> list[dict[str, object]]:
    try:
        rows = csv.DictReader(text.splitlines(keepends=True), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        return [{name: value for name, value in row.items() if isinstance(name, str)} for row in rows]
    except csv.Error as error:
        raise BadFile(f"{path} is not a table: {error}.") from error


def _jsonl(path: Path, text: str) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
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
