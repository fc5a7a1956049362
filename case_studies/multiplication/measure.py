"""What each digit of the answer reads, and what becomes of it when it cannot."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

import workbench
from case_studies.multiplication.arithmetic import digits, number
from case_studies.multiplication.problems import FIRST, PLACES, Order, Problems, from_places, tokens

B = PLACES + 1
"""Position of the second number."""
OPERANDS = (*range(PLACES), B)
"""Positions of what is multiplied: the digits of the first number, highest first, and the second number."""


def operand_names() -> tuple[str, ...]:
    """What stands at each of OPERANDS: a4 ... a0, the digits of the first number by place, and b."""
    return (*(f"a{place}" for place in range(PLACES - 1, -1, -1)), "b")


@torch.no_grad()
def predicted(model: workbench.LensModel, problems: Problems, order: Order) -> Int[Tensor, "problem place"]:
    """The digit that comes first at each place of the answer, highest place first, those written before it being right.

    A whole answer is right exactly when it is so when the model writes it by itself, digit after digit.
    """
    logits = model.module(tokens(problems, problems.answers(), order)[:, :-1]).logits
    return from_places(logits[:, FIRST:].argmax(-1), order)


def right(model: workbench.LensModel, problems: Problems, order: Order) -> Bool[Tensor, "problem place"]:
    """Whether each digit of the answer is right, highest place first."""
    return predicted(model, problems, order) == problems.answers()


def written(model: workbench.LensModel, problems: Problems, order: Order) -> Int[Tensor, "problem place"]:
    """The answers as the model writes them by itself, highest place first."""
    ids = tokens(problems, problems.answers(), order)[:, : FIRST + 1]
    with torch.no_grad():
        for _ in range(PLACES + 1):
            ids = torch.cat([ids, model.module(ids).logits[:, -1:].argmax(-1)], -1)
    return from_places(ids[:, FIRST + 1 :], order)


def needs(problems: Problems) -> Float[Tensor, "place operand"]:
    """By arithmetic alone: how often a digit of the answer becomes another when one operand's digit does.

    Mean over the problems and the other digits there are; places of the answer highest first, operands as in OPERANDS.
    """
    answers, values = problems.answers(), digits(problems.a, PLACES)
    columns = []
    for operand in range(PLACES):
        changed = torch.zeros(PLACES + 1)
        for by in range(1, 10):
            other = values.clone()
            other[:, operand] = (other[:, operand] + by) % 10
            changed += (Problems(a=number(other), b=problems.b).answers() != answers).float().mean(0)
        columns.append(changed / 9)
    other = [(Problems(a=problems.a, b=torch.full_like(problems.b, b)).answers() != answers) for b in range(2, 10)]
    columns.append(torch.stack(other).float().mean(1).sum(0) / 7)  # it is never another than itself
    return torch.stack(columns, -1)


@torch.no_grad()
def attended(model: workbench.LensModel, problems: Problems, order: Order) -> Float[Tensor, "layer head place key"]:
    """Mean attention from where each digit of the answer is predicted (highest place first) to each position."""
    sites = model.attention_sites(None, "pattern")
    with workbench.reading(model, sites) as values:
        model.module(tokens(problems, problems.answers(), order)[:, :-1])
    rows = torch.stack([values[site].mean(0)[:, FIRST:] for site in sites])  # (layer, head, query, key)
    return rows.flip(-2) if order == "reversed" else rows


def knocked_out(
    model: workbench.LensModel, problems: Problems, order: Order, keys: Iterable[int] = OPERANDS
) -> Float[Tensor, "place key"]:
    """How far the share of right digits falls at each place when no digit of the answer can attend to one position.

    All heads of all layers lose it, before the softmax; the rest of the row is shared out.
    """
    before = right(model, problems, order).float().mean(0)
    falls = []
    for key in keys:

        def cut(scores: Tensor, key: int = key) -> Tensor:  # (batch, head, query, key)
            scores = scores.clone()
            scores[:, :, FIRST:, key] = torch.finfo(scores.dtype).min
            return scores

        with workbench.editing(model, dict.fromkeys(model.attention_sites(None, "attn_scores"), cut)):
            falls.append(before - right(model, problems, order).float().mean(0))
    return torch.stack(falls, -1)


def interchanged(
    model: workbench.LensModel, problems: Problems, order: Order, *, seed: int = 0
) -> Mapping[str, Float[Tensor, "place digit"]]:
    """What the answer becomes when the values of one digit of `a` are those of another digit, all else as it was.

    `follows`: share of digits that become those of the other product, of those that should become others although all
    that is written before them stays the same. `stays`: share of digits that remain, of those that are the same in both
    products. NaN where there are none. `counted` has the number of problems in `follows`.
    """
    generator = torch.Generator().manual_seed(seed)
    sites = model.attention_sites(None, "v")
    answers, before = problems.answers(), predicted(model, problems, order)
    found: dict[str, list[Tensor]] = {"follows": [], "stays": [], "counted": []}
    for digit in range(PLACES):
        values = digits(problems.a, PLACES)
        values[:, digit] = (values[:, digit] + torch.randint(1, 10, (len(problems),), generator=generator)) % 10
        other = Problems(a=number(values), b=problems.b)
        new = other.answers()
        with torch.no_grad(), workbench.reading(model, sites) as theirs:
            model.module(tokens(other, answers, order)[:, :-1])

        def swap(
            own: Tensor, site: str, digit: int = digit, theirs: Any = theirs
        ) -> Tensor:  # (batch, pos, head, d_head)
            own = own.clone()
            own[:, digit] = theirs[site][:, digit]
            return own

        with workbench.editing(model, {site: lambda own, site=site: swap(own, site) for site in sites}):
            after = predicted(model, problems, order)
        differs = from_places(new != answers, order)
        earlier = from_places((differs.cumsum(-1) - differs.long()) == 0, order)
        asked = (new != answers) & earlier
        same = new == answers
        found["follows"].append(((after == new) & asked).sum(0) / asked.sum(0))
        found["stays"].append(((after == before) & same).sum(0) / same.sum(0))
        found["counted"].append(asked.sum(0).float())
    return {name: torch.stack(columns, -1) for name, columns in found.items()}


@torch.no_grad()
def misled(
    model: workbench.LensModel, problems: Problems, order: Order, *, seed: int = 0
) -> Bool[Tensor, "problem place"]:
    """Whether each digit of the answer is right when the digit written just before it is a wrong one.

    Highest place first; the digit that is written first has none before it, and is as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    answers = problems.answers()
    ids = tokens(problems, answers, order)[:, :-1]
    columns = []
    for query in range(FIRST, ids.shape[1]):
        wrong = ids.clone()
        if query > FIRST:
            wrong[:, query] = (ids[:, query] + torch.randint(1, 10, (len(ids),), generator=generator)) % 10
        columns.append(model.module(wrong).logits[:, query].argmax(-1))
    return from_places(torch.stack(columns, -1), order) == answers
