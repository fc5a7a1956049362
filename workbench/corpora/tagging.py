"""Tags of characters made into tags of positions, and never a wrong one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.corpora.form import Span

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel


def position_tags(model: "LensModel", text: str, spans: Sequence[Span]) -> tuple[str, ...]:
    """For each position that `model` reads `text` at, the tag of its characters; "" where no single tag is known.

    A token has a tag when all its characters but spaces lie in spans of that tag. Special tokens have none. Where the
    tokenizer does not say which characters a token stands for, tokens are spelled along the text from its start, and
    those after the first that cannot be spelled have no tag.
    """
    batch = model.encode(text)
    ids = batch[model.architecture.input_name][0].tolist()
    places = _offsets(model, text, ids)
    if places is None:
        places = _spelled(model, text, model.labels(batch))
    tag_at = [""] * len(text)
    for start, end, tag in spans:
        tag_at[start:end] = [tag] * len(tag_at[start:end])
    return tuple(_tag(text, tag_at, start, end) for start, end in places)


def _tag(text: str, tag_at: Sequence[str], start: int, end: int) -> str:
    found = {tag_at[i] for i in range(start, end) if not text[i].isspace()}
    return found.pop() if len(found) == 1 else ""


def _tokenizer(model: "LensModel") -> Any:
    return getattr(model.processor, "tokenizer", model.processor)


def _offsets(model: "LensModel", text: str, ids: list[int]) -> list[tuple[int, int]] | None:
    """(start, end) in the text of each position, from a fast tokenizer; None where it cannot say."""
    tokenizer = _tokenizer(model)
    if not getattr(tokenizer, "is_fast", False):
        return None
    found = tokenizer(text, return_offsets_mapping=True)
    if list(found["input_ids"]) != ids:  # the model reads something the tokenizer does not add itself
        return None
    return [tuple(place) for place in found["offset_mapping"]]  # special tokens stand for no characters: (0, 0)


def _spelled(model: "LensModel", text: str, labels: Sequence[str]) -> list[tuple[int, int]]:
    tokenizer = _tokenizer(model)
    added = {*getattr(tokenizer, "all_special_tokens", ())} - {getattr(tokenizer, "unk_token", None)}
    places, cursor = [], 0
    for label in labels:
        while cursor < len(text) and text[cursor].isspace():
            cursor += 1
        word = label.strip()
        word = word[2:] if word.startswith("##") and not text.startswith("##", cursor) else word
        if text[cursor : cursor + len(word)].casefold() == word.casefold():
            places.append((cursor, cursor + len(word)))
            cursor += len(word)
        else:
            places.append((0, 0))
            if word not in added:
                cursor = len(text)  # lost: what follows could be anywhere
    return places
