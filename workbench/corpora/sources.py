"""Where a corpus comes from: one function that takes anything a person has."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench.corpora import drawing
from workbench.corpora.form import Corpus
from workbench.errors import BadInput

READS = ("text", "image", "audio", "text+image")
EXAMPLE = "example"
HUB = "hf:"
OFFER = (
    "'example', 'brown' (texts), 'scikit-image' (pictures), 'hf:OWNER/NAME', a text file with one input a line, a "
    "folder of images or .wav files, or a list"
)
Take = Callable[[int], Sequence[int]]
"""Given how many there are, which places to take."""


def corpus(source: Any, *, reads: str = "text", limit: int | None = None, seed: int = 0) -> Corpus:
    """The texts, pictures or sounds that `source` names or holds, as many as are asked for.

    `source` is "example" (built in), "brown" (English with parts of speech), "scikit-image" (photographs),
    "hf:OWNER/NAME[/CONFIG[/SPLIT]][:COLUMN]" (a data set on the Hugging Face hub), the path of a text file with one
    input a line (also .csv, .tsv and .jsonl with a column of text), a folder of images or of .wav files, several
    lines of text, a list, a `datasets.Dataset`, or a `Corpus`.

    `reads` is what the model reads, as in `model.reads`. `limit` draws that many with `seed` and keeps their order;
    a larger draw with the same seed holds every smaller one. Raises `BadInput` for what cannot be read, `Unavailable`
    for what cannot be fetched.
    """
    if reads not in READS:
        raise BadInput(f"A corpus is of one of {', '.join(map(repr, READS))}, not of {reads!r}.")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise BadInput(f"limit must be a whole number from 1, or nothing for all inputs, not {limit!r}.")
    found = _read(source, reads, limit, seed)
    if isinstance(source, str | Path):
        options = {"reads": (reads, "text"), "limit": (limit, None), "seed": (seed, 0)}
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
    if isinstance(source, str) and "\n" in source:
        source = [line.strip() for line in source.splitlines() if line.strip()]
    if isinstance(source, str | Path):
        from workbench.corpora import files

        if not str(source).strip():
            raise BadInput(f"Say which inputs: {OFFER}.")
        path = Path(source).expanduser()
        if path.is_dir():
            return files.folder(path, reads, limit, seed)
        if path.is_file():
            return files.lines(path, reads, take)
        raise BadInput(
            f"There is no corpus, file or folder called {str(source)[:120]!r}. Give {OFFER}; "
            "a single text goes in a list."
        )
    from workbench.corpora.lists import listed

    return listed(source, reads, take)
