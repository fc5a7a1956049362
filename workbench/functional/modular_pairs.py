"""Pairs of operands on a circle: which are trained on, and in which order every operation is an addition."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole

PairOperation = Literal["add", "subtract", "multiply"]


@dataclass(frozen=True, eq=False, kw_only=True)
class SumAxes:
    """Orders of operands and answers in which the answer of the i-th and the j-th is the (i + j mod n)-th."""

    first: Int[Tensor, "n"]
    """The place among the values of each of the ordered first operands."""
    second: Int[Tensor, "n"]
    answers: Int[Tensor, "n"]
    left_out: tuple[int, ...] = ()
    """Places of values that have none in this order: the 0 of a multiplication."""

    def __len__(self) -> int:
        return len(self.first)

    def pairs(self, table: Shaped[Tensor, "a b *rest"]) -> Shaped[Tensor, "n n *rest"]:
        """A table over pairs of values, in this order."""
        return table[self.first.to(table.device)][:, self.second.to(table.device)]

    def logits(self, table: Shaped[Tensor, "a b c"]) -> Shaped[Tensor, "n n n"]:
        """A table of logits over pairs and answers, in this order."""
        return self.pairs(table)[..., self.answers.to(table.device)]


def sum_axes(n: int, operation: PairOperation = "add", start: int = 0) -> SumAxes:
    """How to order n operands and answers so that an operation modulo n is an addition of places.

    The values are start, start + 1, ... "subtract" turns the second operand round. "multiply" orders by the discrete
    logarithm to the smallest primitive root, modulo a prime: the n values are 0 to n - 1 with n prime, and the 0 is
    left out, or (start 1) 1 to n with n + 1 prime. Then spectra are over n - 1, or n, places.
    """
    need_whole("n", n)
    need_whole("start", start)
    if n < 2:
        raise BadInput(f"Pairs are of two values or more, not {n}.")
    at = torch.arange(n)
    if operation == "add":
        return SumAxes(first=at, second=at, answers=(at + start) % n)
    if operation == "subtract":
        return SumAxes(first=at, second=-at % n, answers=(at - start) % n)
    if operation != "multiply":
        raise BadInput(f"What is done to the operands is 'add', 'subtract' or 'multiply', not {operation!r}.")
    if start not in (0, 1) or not _is_prime(n + start):
        raise BadInput(
            f"Multiplication goes round in one circle modulo a prime p, over the values 0 to p - 1 or 1 to p - 1; these"
            f" are {start} to {start + n - 1}, and {n + start if start in (0, 1) else n} is not such a prime. Choose"
            " another range, or 'add'."
        )
    powers = torch.tensor(_powers(n + start)) - start
    return SumAxes(first=powers, second=powers, answers=powers, left_out=() if start else (0,))


def train_pairs(n: int, share: float, seed: int = 0) -> Bool[Tensor, "n n"]:
    """Which pairs of n values are trained on: a share of all n^2, drawn by the seed alone."""
    need_whole("n", n)
    if n < 1 or not 0 <= share <= 1:
        raise BadInput(f"A share, from 0 to 1, of the pairs of one value or more; not {share} of {n}.")
    order = torch.randperm(n * n, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(n * n, dtype=torch.bool)
    mask[order[: round(share * n * n)]] = True
    return mask.view(n, n)


def _is_prime(p: int) -> bool:
    return p > 1 and all(p % q for q in range(2, int(p**0.5) + 1))


def _powers(p: int) -> list[int]:
    """1, g, g^2, ... modulo the prime p, for the smallest g whose powers are all values but 0."""
    for g in range(1, p):
        powers = [1]
        while (power := powers[-1] * g % p) != 1:
            powers.append(power)
        if len(powers) == p - 1:
            return powers
    raise AssertionError(f"{p} is a prime, and has a primitive root")
