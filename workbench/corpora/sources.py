"""Where a corpus comes from: one function that takes anything a person has."""

import operator
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, SupportsIndex

from workbench.corpora import drawing, text_lines
from workbench.corpora.form import Corpus
from workbench.errors import BadInput

READS = ("text", "image", "audio", "text+image")
EXAMPLE = "example"
HUB = "hf:"
OFFER = (
    "'example', 'brown' (texts), 'scikit-image' (pictures), 'hf:OWNER/NAME', a text file with one input a line, a "
    "folder of images or .wav files, or a list"
)


def corpus(source: Any, *, reads: str = "text", limit: SupportsIndex | None = None, seed: SupportsIndex = 0) -> Corpus:
    """The texts, pictures or sounds that `source` names or holds, as many as are asked for.

    `source` is "example" (built in), "brown" (English with parts of speech), "scikit-image" (photographs),
    "hf:OWNER/NAME[/CONFIG[/SPLIT]][:COLUMN]" (a data set on the Hugging Face hub), the path of a text file with one
    input a line, of a table (.csv, .tsv, .jsonl or .parquet, with ":COLUMN" after it if need be), of a folder of
    images or of .wav files, several lines of text, a list, a `datasets.Dataset`, or a `Corpus`. Lines end at line feed
    and carriage return and nowhere else. Arrays of pictures are floats in 0..1 or whole numbers in 0..255.

    `reads` is what the model reads, as in `model.reads`. `limit` draws that many with `seed` and keeps their order;
    a larger draw with the same seed holds every smaller one, except from a hub, of whose files only as many are drawn
    from as `limit` needs. Raises `BadInput` for what cannot be read, `Unavailable` for what cannot be fetched.
    """
    if reads not in READS:
        raise BadInput(f"A corpus is of one of {', '.join(map(repr, READS))}, not of {reads!r}.")
    count, start = _whole(limit), _whole(seed)
    if limit is not None and (count is None or count < 1):
        raise BadInput(f"limit must be a whole number from 1, or nothing for all inputs, not {limit!r}.")
    if start is None:
        raise BadInput(f"seed must be a whole number, not {seed!r}.")
    found = _read(source, reads, count, start)
    if isinstance(source, str | Path):
        options = {"reads": (reads, "text"), "limit": (count, None), "seed": (start, 0)}
        words = "".join(f", {name}={value!r}" for name, (value, usual) in options.items() if value != usual)
        return replace(found, made_by=f"workbench.corpus({str(source)!r}{words})")
    return found


def _read(source: Any, reads: str, limit: int | None, seed: int) -> Corpus:
    take = partial(drawing.drawn, limit=limit, seed=seed)
    if isinstance(source, Corpus):
        if source.reads != reads:
            raise BadInput(f"The corpus {source.name} is of {source.reads}, and this model reads {reads}.")
        return source.chosen(take(len(source)))
    if isinstance(source, str) and source == EXAMPLE:
        from workbench.corpora.examples import example

        return example(reads, take)
    if isinstance(source, str) and source == "brown":
        from workbench.corpora.brown import brown

        return brown(reads, take)
    if isinstance(source, str) and source == "scikit-image":
        from workbench.corpora.photographs import photographs

        return photographs(reads, take)
    note = ""
    if isinstance(source, str) and text_lines.several(source):
        source, note = text_lines.inputs(source)
    if isinstance(source, str | Path):
        return _named(str(source), reads, limit, seed)
    from workbench.corpora.lists import dataset, listed

    if hasattr(source, "column_names") and not isinstance(source, Mapping):
        return dataset(source, reads, limit, seed)
    found = listed(source, reads, limit, seed)
    return replace(found, note=" ".join(filter(None, [note, found.note]))) if note else found


def _whole(x: Any) -> int | None:
    """A whole number of any library as one of Python; None for anything else."""
    try:
        return None if isinstance(x, bool) else operator.index(x)
    except TypeError:
        return None


def _named(source: str, reads: str, limit: int | None, seed: int) -> Corpus:
    """What a name or a path stands for."""
    from workbench.corpora import files, parquet

    if not source.strip():
        raise BadInput(f"Say which inputs: {OFFER}.")
    if source.startswith(HUB):
        from workbench.corpora.hub_data import hub_data

        return hub_data(source, reads, limit, seed)
    path, column = _path(source), None
    if path is None and ":" in source:
        head, _, column = source.rpartition(":")
        path = _path(head)
    if path and path.is_dir() and column is None:
        return files.folder(path, reads, limit, seed)
    if path and path.is_file() and path.suffix == ".parquet":
        return parquet.read([path], reads, column, limit, seed, path.name)[0]
    if path and path.is_file():
        return files.lines(path, reads, column, partial(drawing.drawn, limit=limit, seed=seed))
    raise BadInput(
        f"There is no corpus, file or folder called {source[:120]!r}. Give {OFFER}; a single text goes in a list."
    )


def _path(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # a whole sentence is too long for a name; "~who" is nobody's home
        return None
