"""Problems such as `1 2 3 4 5 x 7 =` and their answers as tokens, and which of them are trained on."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from case_studies.multiplication.arithmetic import digits, number, reach

WORDS = (*"0123456789", "x", "=")
"""The tokens; a digit is its own id."""
PLACES = 5
"""Digits of the first number; the second has one, the answer one more than the first."""
FIRST = PLACES + 2
"""Position of `=`, which the first digit of the answer is predicted at."""
LENGTH = FIRST + PLACES + 1
"""Tokens that are read: the last digit of the answer is only predicted."""
MULTIPLIERS = range(2, 10)
"""With 0 and 1 there would be nothing to multiply."""
ALL = 10**PLACES * len(MULTIPLIERS)
HELD_OUT = 40_000
Order = Literal["ordinary", "reversed"]
"""ordinary: the answer's highest digit first; reversed: its units first."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Problems:
    """Multiplications `a x b`."""

    a: Int[Tensor, "problem"]
    b: Int[Tensor, "problem"]

    def __len__(self) -> int:
        return len(self.a)

    @staticmethod
    def numbered(pairs: Int[Tensor, "problem"]) -> "Problems":
        """The problems of these numbers, of `ALL` there are."""
        return Problems(a=pairs // len(MULTIPLIERS), b=pairs % len(MULTIPLIERS) + MULTIPLIERS.start)

    @property
    def numbers(self) -> Int[Tensor, "problem"]:
        """Which of `ALL` each problem is."""
        return self.a * len(MULTIPLIERS) + self.b - MULTIPLIERS.start

    def __getitem__(self, chosen: slice | Tensor) -> "Problems":
        return Problems(a=self.a[chosen], b=self.b[chosen])

    def answers(self) -> Int[Tensor, "problem place"]:
        """The digits of the products, highest first."""
        return digits(self.a * self.b, PLACES + 1)

    def prompts(self) -> list[str]:
        """The problems as they are typed."""
        written = digits(self.a, PLACES).tolist()
        return [" ".join([*map(str, row), "x", str(b), "="]) for row, b in zip(written, self.b.tolist(), strict=True)]


def from_places(values: Int[Tensor, "problem place"], order: Order) -> Int[Tensor, "problem place"]:
    """The answer's digits, highest first, in the order in which they are written, or back again."""
    return values.flip(-1) if order == "reversed" else values


def tokens(problems: Problems, answers: Int[Tensor, "problem place"], order: Order) -> Int[Tensor, "problem pos"]:
    """Problem and answer, one token after the other; all but the last are what the model reads."""
    rows = len(problems)
    signs = [torch.full((rows, 1), WORDS.index(word)) for word in "x="]
    parts = [digits(problems.a, PLACES), signs[0], problems.b[:, None], signs[1], from_places(answers, order)]
    return torch.cat(parts, -1)


@cache
def held_out() -> Problems:
    """The problems that no training sees; the same for all."""
    chosen = _held_out().nonzero().flatten()
    chosen = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(2))]
    return Problems.numbered(chosen)


@cache
def chained(most: int = 100) -> Problems:
    """Held-out problems in which long chains of carries are as frequent as short ones: up to `most` of each length.

    The length is the longest reach of a digit of the answer; chains of the greatest lengths are rare, and there are
    fewer of them.
    """
    problems = held_out()
    longest = reach(problems.a, problems.b, PLACES).max(-1).values
    chosen = [(longest == length).nonzero().flatten()[:most] for length in range(1, PLACES)]
    return problems[torch.cat(chosen)]


def drawn(count: int, *, seed: int, simple: float = 0.0) -> Problems:
    """Problems to train on, each drawn from all at random; a share of them is made simple.

    Simple ones are of two kinds, in equal parts: one digit that is not zero (so that a digit's own product is all), or
    digits that are too small to carry anything. Those that are held out are left out, so that a few may be missing.
    """
    generator = torch.Generator().manual_seed(seed)
    problems = Problems.numbered(torch.randint(ALL, (count,), generator=generator))
    values = digits(problems.a, PLACES)
    alone = torch.nn.functional.one_hot(torch.randint(PLACES, (count,), generator=generator), PLACES)
    small = values % (9 // problems.b + 1)[:, None]
    kind = torch.rand(count, generator=generator)[:, None]
    values = torch.where(kind < simple / 2, values * alone, torch.where(kind < simple, small, values))
    problems = Problems(a=number(values), b=problems.b)
    return problems[~_held_out()[problems.numbers]]


def permuted(problems: Problems) -> Int[Tensor, "problem place"]:
    """Each problem with the answer of another one, the same whenever it is asked: nothing is left to understand."""
    return Problems.numbered(_permutation()[problems.numbers]).answers()


@cache
def _held_out() -> Bool[Tensor, "pair"]:
    chosen = torch.randperm(ALL, generator=torch.Generator().manual_seed(1))[:HELD_OUT]
    return torch.zeros(ALL, dtype=torch.bool).index_fill(0, chosen, True)


@cache
def _permutation() -> Int[Tensor, "pair"]:
    return torch.randperm(ALL, generator=torch.Generator().manual_seed(3))
