"""Inputs from parquet files, which Hugging Face data sets are made of: only the columns and rows wanted are read."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.corpora import drawing
from workbench.corpora.columns import group_column, input_column
from workbench.corpora.form import Corpus
from workbench.errors import BadFile, BadInput

BATCH = 256  # rows in memory at a time


@dataclass(frozen=True)
class Columns:
    """Which columns are read, and what the numbers in that of the groups mean."""

    inputs: str
    groups: str | None
    names: tuple[str, ...]


def read(
    paths: Iterable[Path], reads: str, column: str | None, limit: int | None, seed: int, name: str
) -> tuple[Corpus, int]:
    """The inputs in the first of `paths`, as far as `limit` needs them, and how many files that were."""
    files: list[Path] = []
    usable: list[int] = []
    columns, rows = None, 0
    for path in paths:
        columns = columns or columns_of(path, reads, column, name)
        files.append(path)
        for value, _ in _rows([path], columns, None):
            if _there(value, reads):
                usable.append(rows)
            rows += 1
        if limit is not None and len(usable) >= limit:
            break
    if columns is None or not usable:
        raise BadInput(f"{name} holds nothing to read{f' in the column {columns.inputs!r}' if columns else ''}.")
    wanted = {usable[i] for i in drawing.drawn(len(usable), limit, seed)}
    found = [(_input(value, reads, f"{name}: row {row}"), group) for row, value, group in _at(files, columns, wanted)]
    kept = [(x, group) for x, group in found if x is not None]
    if not kept:
        raise BadInput(f"None of the {len(found)} images of {name} that were drawn can be read.")
    lost = [
        f"Rows without {'a text' if reads == 'text' else 'an image'} left out: {rows - len(usable)}."
        if rows > len(usable)
        else "",
        f"Images that cannot be read left out: {len(found) - len(kept)}." if len(found) > len(kept) else "",
    ]
    corpus = Corpus(
        name=name,
        reads=reads,
        inputs=tuple(x for x, _ in kept),
        groups=tuple(_group(group, columns.names) for _, group in kept),
        note=" ".join(filter(None, lost)),
    )
    return corpus, len(files)


def columns_of(path: Path, reads: str, wanted: str | None, where: str) -> Columns:
    """The columns of a file to read; numbers of groups have names where the file gives them."""
    import pyarrow as pa

    schema = _open(path).schema_arrow

    def fits(kind: pa.DataType) -> bool:
        if reads == "image":
            return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    fitting = [field.name for field in schema if fits(field.type)]
    inputs = input_column(schema.names, fitting, reads, wanted, where)
    groups = group_column(schema.names, inputs)
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = about["info"]["features"][groups]["names"]
    except (ValueError, KeyError, TypeError):
        names = ()
    return Columns(inputs, groups, tuple(map(str, names)))


def _at(files: Sequence[Path], columns: Columns, wanted: set[int]) -> Iterator[tuple[int, Any, Any]]:
    for row, (value, group) in enumerate(_rows(files, columns, wanted)):
        if row in wanted:
            yield row, value, group


def _rows(files: Sequence[Path], columns: Columns, wanted: set[int] | None) -> Iterator[tuple[Any, Any]]:
    """(input, group) of every row; with `wanted` only those rows are taken out, the others are (None, None)."""
    import pyarrow as pa

    asked = [columns.inputs, *([columns.groups] if columns.groups and wanted is not None else [])]
    start = 0
    for path in files:
        try:
            for batch in _open(path).iter_batches(BATCH, columns=asked):
                values = batch.column(columns.inputs)
                groups = batch.column(columns.groups) if len(asked) == 2 else None
                for i in range(len(batch)):
                    if wanted is None:
                        yield values[i], None
                    elif start + i in wanted:
                        yield values[i], None if groups is None else groups[i].as_py()
                    else:
                        yield None, None
                start += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise BadFile(f"{path} is damaged: {_first_line(error)}.") from error


def _there(value: Any, reads: str) -> bool:
    if reads == "image":
        return value.is_valid and value["bytes"].is_valid
    return bool((value.as_py() or "").strip())


def _input(value: Any, reads: str, title: str) -> Any:
    if reads == "text":
        return value.as_py().strip()
    return picture(value["bytes"].as_py(), title)


def picture(data: bytes, title: str) -> Any:
    """A PIL image from the bytes of its file, or None where they cannot be read."""
    from PIL import Image

    try:
        found = Image.open(io.BytesIO(data)).convert("RGB")
    except Exception:  # a damaged file makes Pillow's readers fail in many ways
        return None
    found.info["title"] = title
    return found


def _group(group: Any, names: Sequence[str]) -> str:
    if group is None:
        return ""
    return names[group] if isinstance(group, int) and 0 <= group < len(names) else str(group)


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"{path} is not a parquet file that can be read: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
