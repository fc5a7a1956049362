"""Drafts in the tokens of one model: where the answer stands, and which answers are one token there."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.capabilities import lacking
from workbench.errors import MissingCapability
from workbench.inputs import tokenizer_of
from workbench.tasks import draft as reasons
from workbench.tasks.draft import Draft, Unusable
from workbench.tasks.form import Example

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

SENTINEL = "<extra_id_0>"
"""The mask of T5, whose decoder begins with it and goes on with the answer."""
_WORD = re.compile(r"[Ġ▁]?[A-Za-z]{2,}")
_ENOUGH = 1000  # whole words that a vocabulary needs for random prompts to be made of words alone


class Reader:
    """Reads drafts as one model does: at its mask if it fills masks, else as what comes next."""

    def __init__(self, model: "LensModel") -> None:
        missing = {"text", "logits"} - model.capabilities
        if model.reads != "text" or missing:
            raise MissingCapability(lacking("A task", model.name, missing or {"text"}))
        if model.classes is not None:
            raise MissingCapability(f"A task asks for tokens, and {model.name} answers with a class.")
        self.model = model
        self.tokenizer: Any = tokenizer_of(model)
        self.unknown = getattr(self.tokenizer, "unk_token_id", None)
        self.mask = None if model.main.causal and model.main.side != "target" else self._mask()
        self.start = (self.mask[1],) if self.mask and self.mask[0] == SENTINEL else ()

    def _mask(self) -> tuple[str, int] | None:
        """(text, id) of what stands where an answer is wanted; None where answers come last."""
        special = getattr(self.tokenizer, "all_special_tokens", None) or ()
        if self.model.main.side != "target":
            text = getattr(self.tokenizer, "mask_token", None)
        else:
            text = SENTINEL if SENTINEL in special else None
        return None if text is None else (text, int(self.tokenizer.convert_tokens_to_ids(text)))

    def ids(self, texts: Sequence[str], *, special: bool = True) -> list[tuple[int, ...]]:
        """The token ids of some texts; an end mark that a model would have to go on from is left out."""
        rows = [tuple(row) for row in self.tokenizer(list(texts), add_special_tokens=special)["input_ids"]]
        end = getattr(self.tokenizer, "eos_token_id", None)
        if special and self.model.main.causal and self.model.main.side != "target":
            rows = [row[:-1] if len(row) > 1 and row[-1] == end else row for row in rows]
        return rows

    def text(self, ids: Sequence[int]) -> str:
        """Token ids as a person reads them."""
        return "".join(self.model.token_text(number) for number in ids)

    def is_one_token(self, text: str, answer: str) -> bool:
        """Whether `answer` is one token where it goes on from `text`."""
        return self._answers(text, (answer,), ".")[0] is not None

    @cached_property
    def vocabulary(self) -> tuple[int, ...]:
        """Ids of ordinary tokens: whole words in plain letters where there are enough, else all but special ones."""
        size = self.model.vocab_size
        if self.tokenizer is None:
            return tuple(range(size))
        special = set(getattr(self.tokenizer, "all_special_ids", None) or ())
        plain = [number for number in range(min(size, len(self.tokenizer))) if number not in special]
        raw = self.tokenizer.convert_ids_to_tokens(plain)
        words = [number for number, token in zip(plain, raw, strict=True) if token and _WORD.fullmatch(token)]
        return tuple(words if len(words) >= _ENOUGH else plain)

    @cached_property
    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(ids before, ids after) that the tokenizer puts around a text."""
        if self.tokenizer is None:
            return (), ()
        for number in self.vocabulary:
            text = self.text([number])
            (bare,), (whole,) = self.ids([text], special=False), self.ids([text])
            if bare == (number,) and whole.count(number) == 1:
                return whole[: whole.index(number)], whole[whole.index(number) + 1 :]
        return (), ()

    def read(self, draft: Draft) -> Example:
        """The draft as an example, or `Unusable` with the reason."""
        if draft.clean == draft.corrupted:
            raise Unusable(reasons.SAME_PROMPT)
        if isinstance(draft.clean, str) and isinstance(draft.corrupted, str):
            targets, foils = (self._chosen(draft, answers) for answers in (draft.targets, draft.foils))
            lead = " " if str(draft.targets[0]).startswith(" ") else ""
            texts = tuple(self._with_mask(text, lead, draft.after) for text in (draft.clean, draft.corrupted))
            clean, corrupted = self.ids(texts)
        else:
            targets, foils = (tuple(map(int, answers)) for answers in (draft.targets, draft.foils))
            clean, corrupted = (self._surrounded(tuple(map(int, ids))) for ids in (draft.clean, draft.corrupted))
            texts = self.text(clean), self.text(corrupted)
        if self.unknown is not None and self.unknown in {*clean, *corrupted}:
            raise Unusable(reasons.UNKNOWN)
        if len(clean) != len(corrupted):
            raise Unusable(reasons.LENGTHS)
        if set(targets) & set(foils):
            raise Unusable(reasons.SAME_ANSWER)
        if self.model.n_ctx is not None and len(clean) > self.model.n_ctx:
            raise Unusable(reasons.TOO_LONG)
        return Example(
            clean=clean,
            corrupted=corrupted,
            targets=targets,
            foils=foils,
            position=self._position(clean, corrupted),
            start=self.start,
            texts=(texts[0], texts[1]),
            tag=draft.tag,
        )

    def _chosen(self, draft: Draft, answers: tuple[str | int, ...]) -> tuple[int, ...]:
        found = self._answers(str(draft.clean), tuple(map(str, answers)), draft.after)
        kept = tuple(dict.fromkeys(number for number in found if number is not None))
        if not kept or (len(kept) < len(answers) and not draft.some):
            strange = [self.unknown in row for row in self.ids([str(answer) for answer in answers], special=False)]
            raise Unusable(reasons.UNKNOWN if self.unknown is not None and any(strange) else reasons.MANY_TOKENS)
        return kept

    def _answers(self, text: str, answers: tuple[str, ...], after: str) -> list[int | None]:
        """The token of each answer where it stands; None where it is several, or changes those around it."""
        lead = " " if answers[0].startswith(" ") else ""
        (without,) = self.ids([self._with_mask(text, lead, after)])
        filled = self.ids([self._with_answer(text, answer, after) for answer in answers])
        if self.mask is None:
            ones = [row[-1] if row[:-1] == without else None for row in filled]
        else:
            at = without.index(self.mask[1]) if self.mask[1] in without else len(without)
            rest = without[:at], without[at + 1 :]
            ones = [row[at] if at < len(row) and (row[:at], row[at + 1 :]) == rest else None for row in filled]
        return [one if self._says(one, answer) else None for one, answer in zip(ones, answers, strict=True)]

    def _says(self, number: int | None, answer: str) -> bool:
        """Whether a token stands for an answer: some tokenizers leave out the characters that they do not know."""
        if number is None or number == self.unknown or number >= self.model.vocab_size:
            return False
        return _bare(self.model.token_text(number).removeprefix("##")) == _bare(answer)

    def _with_mask(self, text: str, lead: str, after: str) -> str:
        if self.mask is None or self.mask[0] in text:
            return text
        return text + lead + self.mask[0] + after

    def _with_answer(self, text: str, answer: str, after: str) -> str:
        before, rest = text, "" if self.mask is None else after
        if self.mask and self.mask[0] in text:
            before, _, rest = text.partition(self.mask[0])
            before = before.removesuffix(" ") if answer.startswith(" ") else before
        return before + answer + rest

    def _surrounded(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        before, after = self.around
        return (*before, *ids, *((self.mask[1],) if self.mask else ()), *after)

    def _position(self, clean: tuple[int, ...], corrupted: tuple[int, ...]) -> int:
        if self.model.main.side == "target":
            return len(self.start)
        if self.mask is None:
            return len(clean) - 1
        places = [[i for i, number in enumerate(row) if number == self.mask[1]] for row in (clean, corrupted)]
        if len(places[0]) != 1 or places[0] != places[1]:
            raise Unusable(reasons.MASKS)
        return places[0][0]


def _bare(text: str) -> str:
    """A text without spaces around it, accents and capitals, which some tokenizers take away."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).strip().casefold()
