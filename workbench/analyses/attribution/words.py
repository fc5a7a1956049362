"""Words: which positions of a prompt belong to one word, read off the pieces that the tokenizer made of it.

A word is what stands between spaces, with these cuts: punctuation is a word of its own, unless letters follow it
without a space ("don't", "well-known") or it stands within a number ("3.14"); a Chinese or Japanese character is a
word; special tokens and line breaks stand alone. A space belongs to the word that follows. Tokenizers that keep no
record of spaces (BERT's) have their own idea of a word: theirs is taken, so "don't" is three. Where there is no
tokenizer, and for patches and frames, each position is its own word.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.places import sides
from workbench.inputs import tokenizer_of

_APART = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts without spaces: kana and Han characters."""
_WORD = re.compile(rf"[{_APART}]|[^\W{_APART}]+(?:(?:['’-]|(?<=\d)[.,](?=\d))[^\W{_APART}]+)*|[^\w\s]+")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
"""SentencePiece's spelling of a byte for which it has no piece."""
_MARKS = {"Ġ": str.startswith, "▁": str.startswith, "##": str.startswith, "</w>": str.endswith}
"""How tokenizers mark spaces: before a word (byte-level, SentencePiece), none before (WordPiece), after (CLIP)."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of a prompt's nodes."""

    numbers: tuple[int, ...]
    """Which word each node belongs to, from 0 and without a gap."""
    texts: tuple[str, ...]
    sides: tuple[str, ...]
    """Where each word is read: input or target."""


def words(evidence: Evidence) -> Words:
    """The words of one prompt; the two sides of an encoder-decoder have their own."""
    tokenizer = tokenizer_of(evidence.model)
    numbers: list[int] = []
    texts: list[str] = []
    where: list[str] = []
    for side in sides(evidence):
        labels = evidence.tokens[side.nodes]
        found, names = list(range(len(labels))), list(labels)
        if side.ids is not None and hasattr(tokenizer, "convert_ids_to_tokens"):
            found, names = word_numbers(tokenizer, evidence.batch[side.ids][0, side.index].tolist())
        numbers += [len(texts) + number for number in found]
        texts += names
        where += [side.stack.side] * len(names)
    return Words(numbers=tuple(numbers), texts=tuple(texts), sides=tuple(where))


def special_nodes(evidence: Evidence) -> tuple[bool, ...]:
    """Which nodes are no part of what was given to read: start, class, separator and register tokens."""
    tokenizer = tokenizer_of(evidence.model)
    found: list[bool] = []
    for side in sides(evidence):
        if side.ids is None:
            found += [label in ("CLS", "DIST") or label.startswith("REG ") for label in evidence.tokens[side.nodes]]
        else:
            special = _special_ids(tokenizer)
            found += [number in special for number in evidence.batch[side.ids][0, side.index].tolist()]
    return tuple(found)


def word_numbers(tokenizer: Any, ids: Sequence[int]) -> tuple[list[int], list[str]]:
    """(the number of the word each token belongs to, the text of each word)."""
    mark = space_mark(tokenizer)
    pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(list(ids))]
    special, unknown = _special_ids(tokenizer), getattr(tokenizer, "unk_token_id", None)
    alone = [number in special for number in ids]
    # An unknown token stands for letters: inside a word it does not end it.
    spelled = [_spelled("x" if number == unknown else piece, mark) for number, piece in zip(ids, pieces, strict=True)]
    starts = _starts(b"".join(b"\n" if one else bytes_ for one, bytes_ in zip(alone, spelled, strict=True)))
    numbers: list[int] = []
    texts: list[bytes] = []
    state, offset = "closed", 0  # "blank": only spaces so far, "closed": the next piece begins a word
    for number, piece, one, bytes_ in zip(ids, pieces, alone, spelled, strict=True):
        bytes_ = b"\n" if one else bytes_
        first = offset + len(bytes_) - len(bytes_.lstrip())
        blank, breaks = first == offset + len(bytes_), b"\n" in bytes_ and not bytes_.strip()
        continues = not breaks and (state == "blank" or (state == "word" and not blank and first not in starts))
        if not continues:
            texts.append(b"")
        numbers.append(len(texts) - 1)
        texts[-1] += piece.encode() if one or number == unknown else bytes_
        state = "closed" if breaks else "blank" if blank else "word"
        offset += len(bytes_)
    kept = [text.decode("utf-8", "replace") for text in texts]
    return numbers, kept if mark in ("Ġ", "▁", " ") else [text.strip() for text in kept]


def _special_ids(tokenizer: Any) -> set[int]:
    """Ids that stand for no text. The unknown token does: for letters, unless it also starts or ends texts."""
    ids = {*getattr(tokenizer, "all_special_ids", ())}
    kinds = ("bos", "eos", "pad", "cls", "sep", "mask")
    return ids - (
        {getattr(tokenizer, "unk_token_id", None)} - {getattr(tokenizer, f"{k}_token_id", None) for k in kinds}
    )


def space_mark(tokenizer: Any) -> str:
    """How this tokenizer marks spaces: a key of `_MARKS`, " " where spaces are pieces, "" where they leave no trace."""
    pieces = list(tokenizer.get_vocab())
    counts = {mark: sum(has(piece, mark) for piece in pieces) for mark, has in _MARKS.items()}
    most = max(counts, key=lambda mark: counts[mark])
    if counts[most] > len(pieces) / 100:  # a few pieces may have any look
        return most
    return " " if " " in pieces else ""


def _spelled(piece: str, mark: str) -> bytes:
    """A piece as text, with the space that its mark stands for."""
    if mark == "Ġ":
        return bytes(_BYTES[c] for c in piece) if all(c in _BYTES for c in piece) else piece.encode()
    if mark == "▁":
        return bytes([int(found[1], 16)]) if (found := _BYTE.fullmatch(piece)) else piece.replace("▁", " ").encode()
    if mark == "##" and piece.startswith("##") and len(piece) > 2:
        return piece[2:].encode()
    if mark == "</w>":
        return piece.replace("</w>", " ").encode()
    return piece.encode() if mark == " " else b" " + piece.encode()


def _starts(text: bytes) -> set[int]:
    """The offsets at which words begin."""
    letters = text.decode("utf-8", "surrogateescape")
    places = [0, *accumulate(len(letter.encode("utf-8", "surrogateescape")) for letter in letters)]
    return {places[found.start()] for found in _WORD.finditer(letters)}


def _byte_letters() -> dict[str, int]:
    """The letter that byte-level tokenizers write for each byte: itself where it prints, else the next from 256 on."""
    prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in prints]
    return {chr(byte): byte for byte in prints} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_letters()
