"""Which token stands for each value of a variable, in the form (with a space before it or without) that fits best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from workbench.errors import BadInput
from workbench.inputs import tokenizer_of, vocab_size
from workbench.variables.form import Variable

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

SINGLE = 11
"""Numbers that must be one token each for "numbers" to be more than the digits."""


@dataclass(frozen=True)
class One:
    """The token of one value, or why there is none."""

    id: int | None
    why: str = ""


def with_tokens(variable: Variable, model: "LensModel", *, shortened: bool = False) -> Variable:
    """The variable with the tokens of `model`; `shortened`: cut before the first value that is several tokens."""
    check_reads_text(model)
    if tokenizer_of(model) is None:
        raise BadInput(f"{model.name} was adapted without a tokenizer: give token ids, as in 'ids:0-58'.")
    forms = {False: ones(model, variable.texts), True: ones(model, [f" {text}" for text in variable.texts])}
    if shortened:
        return _shortened(variable, model, forms)
    counts = {spaced: sum(one.id is not None for one in found) for spaced, found in forms.items()}
    same = [one.id for one in forms[True]] == [one.id for one in forms[False]]
    spaced = counts[True] >= counts[False] and counts[True] > 0 and not same
    return _taken(variable, model, forms[spaced], spaced)


def _shortened(variable: Variable, model: "LensModel", forms: dict[bool, list[One]]) -> Variable:
    lengths = {
        spaced: next((at for at, one in enumerate(found) if one.id is None), len(found))
        for spaced, found in forms.items()
    }
    same = [one.id for one in forms[True]] == [one.id for one in forms[False]]
    spaced = lengths[True] >= lengths[False] and not same
    length = lengths[spaced]
    if length < SINGLE:
        split = variable.labels[length]
        raise BadInput(
            f"{variable.name} are whole numbers of one token each, and {model.name} splits them from {split} on "
            f"({split!r} {forms[spaced][length].why}). Choose 'digits', or a range such as '0-99', whose states are"
            " read in a template at the last token of each number."
        )
    cut = replace(
        variable, labels=variable.labels[:length], texts=variable.texts[:length], values=variable.values[:length]
    )
    return _taken(cut, model, forms[spaced][:length], spaced)


def _taken(variable: Variable, model: "LensModel", found: Sequence[One], spaced: bool) -> Variable:
    left_out = {label: one.why for label, one in zip(variable.labels, found, strict=True) if one.id is None}
    ids = [one.id for one in found if one.id is not None]
    if not left_out and len(set(ids)) < len(ids):
        first, second = _same(variable.labels, ids)
        raise BadInput(f"{first!r} and {second!r} of {variable.name} are the same token of {model.name}.")
    tensor = None if left_out else torch.tensor(ids, dtype=torch.long)
    return replace(variable, ids=tensor, spaced=spaced, model=model.name, left_out=left_out)


def _same(labels: Sequence[str], ids: Sequence[int]) -> tuple[str, str]:
    seen: dict[int, str] = {}
    for label, number in zip(labels, ids, strict=True):
        if number in seen:
            return seen[number], label
        seen[number] = label
    raise AssertionError("no two are the same")


def with_ids(name: str, ids: tuple[int, ...], model: "LensModel | None") -> Variable:
    """A variable whose values are token ids."""
    if len(set(ids)) < len(ids):
        raise BadInput(f"{name!r} has a token id twice.")
    if model is not None:
        check_reads_text(model)
        size = vocab_size(model)
        if size and not all(0 <= number < size for number in ids):
            raise BadInput(f"Token ids of {model.name} run from 0 to {size - 1}, not {min(ids)} to {max(ids)}.")
    labels = tuple(str(number) if model is None else _label(model, number) for number in ids)
    return Variable(
        name=name,
        labels=labels,
        texts=labels,
        values=tuple(map(float, range(len(ids)))),
        ids=torch.tensor(ids, dtype=torch.long),
        model="" if model is None else model.name,
        by_id=True,
    )


def check_reads_text(model: "LensModel") -> None:
    """Refuse models that read no text."""
    if "text" not in model.capabilities:
        raise BadInput(f"{model.name} reads no text, so a variable has no tokens in it. Choose a model of text.")


def ones(model: "LensModel", texts: Sequence[str]) -> list[One]:
    """The single token of each text, or why it has none."""
    tokenizer: Any = tokenizer_of(model)
    unknown, size = getattr(tokenizer, "unk_token_id", None), vocab_size(model)
    rows = [list(row) for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    return [_one(model, text, row, unknown, size) for text, row in zip(texts, rows, strict=True)]


def _one(model: "LensModel", text: str, row: list[int], unknown: int | None, size: int) -> One:
    if unknown is not None and unknown in row:
        return One(None, "is not known to the tokenizer")
    if len(row) == 2 and not text.startswith(" ") and not _label(model, row[0]).strip():
        row = row[1:]  # the space that some tokenizers put before every text
    if not row:
        return One(None, "has no token")
    if len(row) > 1:
        shown = ", ".join(repr(_label(model, number)) for number in row[:4])
        return One(None, f"is {len(row)} tokens ({shown}{', ...' * (len(row) > 4)})")
    return One(row[0]) if not size or row[0] < size else One(None, "has a token that the model does not read")


def _label(model: "LensModel", number: int) -> str:
    return model.labels({model.architecture.input_name: torch.tensor([[number]])})[0]
