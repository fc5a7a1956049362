"""Words with tags, and which token of a model's input stands for each word."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from workbench import BadInput, LensModel


def tagged_sentences() -> tuple[str, ...]:
    """Thirty short English sentences with parts of speech, written and tagged by hand for this project."""
    return tuple(json.loads(files("probes").joinpath("tagged_sentences.json").read_text("utf-8")))


def words_and_tags(sentence: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split "The/DET river/NOUN" into its words and their tags. A word may hold slashes; the last one counts."""
    pairs = [piece.rpartition("/") for piece in sentence.split()]
    if not pairs or not all(word and tag for word, _, tag in pairs):
        raise BadInput(
            f"Each word needs a tag after a slash, as in 'The/DET river/NOUN runs/VERB'; got {sentence[:80]!r}."
        )
    return tuple(word for word, _, _ in pairs), tuple(tag for _, _, tag in pairs)


def last_tokens(model: LensModel, batch: Mapping[str, Any], words: Sequence[str]) -> tuple[int, ...] | None:
    """Position of each word's last token, which has seen the whole word; None where the tokens do not spell the words.

    Counted in characters that are not white space, so that it holds for any tokenizer that can decode.
    """
    ids = batch[model.architecture.input_name][0].tolist()
    decode = getattr(model.processor, "tokenizer", model.processor).decode
    spelled = [len("".join(decode(ids[: i + 1], skip_special_tokens=True).split())) for i in range(len(ids))]
    ends = [sum(len(word) for word in words[: i + 1]) for i in range(len(words))]
    if not spelled or spelled[-1] != ends[-1]:
        return None
    return tuple(next(i for i, length in enumerate(spelled) if length >= end) for end in ends)
