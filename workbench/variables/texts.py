"""The values of a variable in a template, as tokens, and the position at which each is read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.errors import BadInput
from workbench.inputs import tokenizer_of
from workbench.variables.form import Variable

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

GAP = "{}"
"""Where the value stands in a template."""
Read = Literal["value", "last"]
"""At the last token of the value, or at the last token of the template: its mask, where it has one."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One value in the template."""

    ids: tuple[int, ...]
    """Token ids, special ones included."""
    position: int
    """Where it is read, counted from 0."""


def placed(model: "LensModel", variable: Variable, template: str = GAP, read: Read = "value") -> tuple[Placed, ...]:
    """Each value in the template, in tokens, with the position at which it is read.

    A template holds {} once. A value at the very start of the text has a space before it where `variable.spaced`.
    """
    check_read(read)
    before, after = _parts(template)
    if variable.by_id:
        return tuple(_of_ids(model, variable, before, after, read))
    texts = [f" {text}" if variable.spaced and not before else text for text in variable.texts]
    found = tuple(_of_text(model, text, before, after, read) for text in texts)
    check_differ(model, [before + text + after for text in texts], [one.ids for one in found])
    return found


def check_read(read: str) -> None:
    """Refuse a place to read that there is not."""
    if read not in get_args(Read):
        raise BadInput(f"States are read at the {' or the '.join(map(repr, get_args(Read)))} token, not at {read!r}.")


def check_differ(model: "LensModel", texts: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    """Refuse prompts that the tokenizer does not know a part of, or does not tell apart."""
    tokenizer, seen = tokenizer_of(model), dict[tuple[int, ...], str]()
    unknown, counts = getattr(tokenizer, "unk_token_id", None), set[int]()
    for text, row in zip(texts, rows, strict=True):
        if unknown is not None and (count := list(row).count(unknown)) not in counts:
            check_known(model, text)
            counts.add(count)
        if (key := tuple(row)) in seen:
            same = f"{text!r} is" if seen[key] == text else f"{seen[key]!r} and {text!r} are"
            raise BadInput(
                f"{same} the prompt of different values to {model.name}, token by token: choose a template with a space"
                " or a word between, or other values."
            )
        seen[key] = text


def check_known(model: "LensModel", text: str) -> None:
    """Refuse a text with words (or characters) that the tokenizer reads as unknown, and name them."""
    tokenizer: Any = tokenizer_of(model)
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return
    if getattr(tokenizer, "is_fast", False):
        read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = zip(read["input_ids"], read["offset_mapping"], strict=True)
        names = [text[low:high].strip() or text[low:high] for number, (low, high) in spans if number == unknown]
    elif unknown in _ids(tokenizer, text, special=False):
        names = [word for word in text.split() if unknown in _ids(tokenizer, word, special=False)] or [text]
    else:
        return
    if names := [name for name in dict.fromkeys(names) if tokenizer.unk_token not in name]:
        listed = ", ".join(map(repr, names))
        more = "" if names == [text] else f" in {text!r}"
        raise BadInput(
            f"The tokenizer of {model.name} does not know {listed}{more}: leave it out, or write it otherwise, with"
            " spaces between the words that it knows."
        )


def _parts(template: str) -> tuple[str, str]:
    if not isinstance(template, str) or template.count(GAP) != 1:
        raise BadInput(
            f"A template holds {GAP} once, where the value stands, as in 'The day after {GAP} is'; got {template!r}."
        )
    before, _, after = template.partition(GAP)
    return before, after


def _of_text(model: "LensModel", value: str, before: str, after: str, read: Read) -> Placed:
    tokenizer, text = tokenizer_of(model), before + value + after
    if tokenizer is None:
        raise BadInput(f"{model.name} was adapted without a tokenizer: give token ids, as in 'ids:0-58'.")
    row = _ids(tokenizer, text, special=True)
    inside = _inside(tokenizer, row, before, before + value, text)
    if not inside:
        raise BadInput(f"The tokens of {text!r} do not show where {value.strip()!r} is. Choose another template.")
    return _fitting(model, row, inside[-1] if read == "value" else answer_places(tokenizer, [row])[0])


def _inside(tokenizer: Any, row: list[int], before: str, head: str, text: str) -> list[int]:
    """The positions of the tokens that hold something of the value, which ends where `head` does."""
    if getattr(tokenizer, "is_fast", False):
        spans = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        return [at for at, (low, high) in enumerate(spans) if low < len(head) and max(low, len(before)) < high]
    start, end, whole = (_ids(tokenizer, part, special=False) if part else [] for part in (before, head, text))
    lead = next((at for at in range(len(row)) if row[at : at + len(whole)] == whole), None)
    if lead is None or whole[: len(end)] != end or end[: len(start)] != start:
        return []
    return list(range(lead + len(start), lead + len(end)))


def answer_places(tokenizer: Any, rows: Iterable[Sequence[int]]) -> list[int]:
    """Where each prompt is answered: at its mask where it has one, else at its last token that is not special."""
    mask = getattr(tokenizer, "mask_token_id", None)
    special = set(getattr(tokenizer, "all_special_ids", None) or ())

    def place(row: Sequence[int]) -> int:
        if mask is not None and row.count(mask) == 1:
            return row.index(mask)
        return next((at for at in reversed(range(len(row))) if row[at] not in special), len(row) - 1)

    return [place(row) for row in rows]


def _of_ids(model: "LensModel", variable: Variable, before: str, after: str, read: Read) -> Iterator[Placed]:
    tokenizer = tokenizer_of(model)
    if tokenizer is None and (before or after):
        raise BadInput(f"{model.name} was adapted without a tokenizer, so its template can only be {GAP}.")
    for text in filter(str.strip, (before, after)):
        check_known(model, text)
    lead, end = ([], []) if tokenizer is None else _around(tokenizer)
    head, tail = ([] if not text else _ids(tokenizer, text, special=False) for text in (before, after))
    for number in variable.tokens().tolist():
        row = [*lead, *head, number, *tail, *end]
        at = len(lead) + len(head)
        yield _fitting(model, row, at if read == "value" or not tail else at + len(tail))


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special ids that the tokenizer puts before and after a text."""
    bare, whole = _ids(tokenizer, "a", special=False), _ids(tokenizer, "a", special=True)
    at = next((at for at in range(len(whole)) if bare and whole[at : at + len(bare)] == bare), None)
    return ([], []) if at is None else (whole[:at], whole[at + len(bare) :])


def _fitting(model: "LensModel", row: list[int], at: int) -> Placed:
    if model.n_ctx is not None and len(row) > model.n_ctx:
        raise BadInput(
            f"The template is {len(row)} tokens long with a value in it, and {model.name} reads {model.n_ctx}."
        )
    return Placed(ids=tuple(row), position=at)


def _ids(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])
