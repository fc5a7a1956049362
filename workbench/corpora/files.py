"""Inputs from the user's own disk: a text file with one input a line, a folder of pictures or of sounds."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from workbench.corpora import drawing, tables, text_lines
from workbench.corpora.drawing import Take
from workbench.corpora.form import Corpus
from workbench.errors import BadFile, BadInput

NAMED = 3  # files named in a note; the others are counted


def lines(path: Path, reads: str, column: str | None, take: Take) -> Corpus:
    """The corpus of a file that holds one input a line, or a table; blank lines are left out and counted."""
    if reads not in ("text", "text+image"):
        raise BadInput(f"{path} is a file; give a folder of {'images' if reads == 'image' else '.wav files'}.")
    text = _text(path)
    if path.suffix.lower() in tables.KINDS:
        return tables.table(path, text, reads, column, take)
    kept, note = text_lines.inputs(text)
    if not kept:
        raise BadInput(f"{path} holds no text: write one input a line.")
    return Corpus(name=path.name, reads=reads, inputs=tuple(kept[i] for i in take(len(kept))), note=note)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(
            f"{path} is not text in UTF-8: byte {error.start} cannot be read. Save it as UTF-8 and try again."
        ) from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error


def folder(path: Path, reads: str, limit: int | None, seed: int) -> Corpus:
    """The pictures, or the .wav files, in a folder and its folders; what cannot be read is left out and named.

    The group of a file is the name of the folder it lies in, "" in the top one.
    """
    if reads not in ("image", "audio"):
        raise BadInput(f"{path} is a folder; for a model that reads {reads} give a text file with one input a line.")
    kinds, what = _wanted(reads)
    files = sorted(
        (p for p in path.rglob("*") if p.suffix.lower() in kinds and not _hidden(p.relative_to(path)) and p.is_file()),
        key=lambda p: p.relative_to(path).as_posix(),
    )
    if not files:
        raise BadInput(f"There are no {what} in {path} or its folders.")
    kept, lost = readable(files, reads, limit, seed)
    bad = [files[place].relative_to(path).as_posix() for place in lost]
    if not kept:
        raise BadInput(f"None of the {len(bad)} {what} in {path} can be read, {some(bad)} among them.")
    chosen = [files[place] for place in kept]
    return Corpus(
        name=path.resolve().name,
        reads=reads,
        inputs=tuple(chosen),
        groups=tuple("" if p.parent == path else p.parent.name for p in chosen),
        note=left_out(bad, what),
    )


def readable(files: Sequence[Path | None], reads: str, limit: int | None, seed: int) -> tuple[list[int], list[int]]:
    """(places of a draw of `limit`, places that it passed over because the file there cannot be read).

    None is an input that is no file, and is taken.
    """
    opens = _is_sound if reads == "audio" else _is_picture
    kept: list[int] = []
    bad: list[int] = []
    for place in drawing.order(len(files), seed) if limit else range(len(files)):
        file = files[place]
        (kept if file is None or opens(file) else bad).append(place)
        if len(kept) == limit:
            break
    return sorted(kept), sorted(bad)


def left_out(bad: list[str], what: str) -> str:
    """The sentence of a note on files that cannot be read."""
    were = "was" if len(bad) == 1 else "were"
    return f"{len(bad)} of the {what} could not be read and {were} left out: {some(bad)}." if bad else ""


def _wanted(reads: str) -> tuple[set[str], str]:
    if reads == "audio":
        return {".wav"}, ".wav files"
    from PIL import Image

    Image.init()
    return {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}, "images"


def _is_picture(path: Path) -> bool:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
    except Exception:  # a damaged file makes Pillow's readers fail in many ways
        return False
    return True


def _is_sound(path: Path) -> bool:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _rate, samples = wavfile.read(path)
    except Exception:  # so does a damaged sound with SciPy
        return False
    return samples.size > 0


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def some(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
