"""Multiplication by one digit, place by place: what each digit of the answer needs. Place 0 is the units.

At place i the answer's digit is (a_i x b + carry in) mod 10, and the carry out is what is over; the highest place has
no digit of its own and is the last carry. Digits are given from the highest to the lowest, as they are read.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

SUBTASKS = ("base multiply", "use carry", "carry")
"""base multiply: nothing comes in, the digit is that of a_i x b; use carry: something comes in and is added; carry: the
highest place, where the digit is what the place before carries out. Names after Qiu et al. (2024)."""


def digits(numbers: Int[Tensor, "*batch"], places: int) -> Int[Tensor, "*batch {places}"]:
    """The decimal digits of each number, highest first, with zeros in front."""
    powers = 10 ** torch.arange(places - 1, -1, -1, device=numbers.device)
    return numbers[..., None] // powers % 10


def number(digits: Int[Tensor, "*batch place"]) -> Int[Tensor, "*batch"]:
    """The numbers that such digits write."""
    powers = 10 ** torch.arange(digits.shape[-1] - 1, -1, -1, device=digits.device)
    return (digits * powers).sum(-1)


def carries_in(a: Int[Tensor, "*batch"], b: Int[Tensor, "*batch"], places: int) -> Int[Tensor, "*batch {places}+1"]:
    """What comes into each place of the answer, highest place first; nothing (0) into the units."""
    coming, found = torch.zeros_like(a), []
    for digit in digits(a, places).unbind(-1)[::-1]:
        found.append(coming)
        coming = (digit * b + coming) // 10
    return torch.stack([*found, coming][::-1], -1)


def subtasks(a: Int[Tensor, "*batch"], b: Int[Tensor, "*batch"], places: int) -> Int[Tensor, "*batch {places}+1"]:
    """Which of SUBTASKS each digit of the answer is, highest place first."""
    kinds = (carries_in(a, b, places) > 0).long()
    kinds[..., 0] = SUBTASKS.index("carry")
    return kinds


def reach(a: Int[Tensor, "*batch"], b: Int[Tensor, "*batch"], places: int) -> Int[Tensor, "*batch {places}+1"]:
    """How many places further down one must look to know each digit of the answer, highest place first.

    0: the place's own digit and b are enough; 1: the carry that the next lower digit makes by itself; 2 and more: a
    carry that only comes to be because another one comes in: successive carries. A place must be looked at when the
    digit is another one if that place and all below it are made 0.
    """
    full = digits(a * b, places + 1)
    found = torch.zeros_like(full)
    for depth in range(places):  # what is known when only the places i - depth to i are read
        for column in range(places + 1):
            place = places - column
            cut = 10 ** max(0, place - depth)
            wrong = digits(a // cut * cut * b, places + 1)[..., column] != full[..., column]
            found[..., column] = torch.where(wrong, depth + 1, found[..., column])
    return found


def longest_run(a: Int[Tensor, "*batch"], b: Int[Tensor, "*batch"], places: int) -> Int[Tensor, "*batch"]:
    """The most carries of a multiplication that follow one another without a break: its successive carries."""
    run = torch.zeros_like(a)
    longest = run
    for carried in (carries_in(a, b, places) > 0).unbind(-1):
        run = torch.where(carried, run + 1, 0)
        longest = torch.maximum(longest, run)
    return longest


def carry_free(a: Int[Tensor, "*batch"], b: Int[Tensor, "*batch"], places: int) -> Bool[Tensor, "*batch"]:
    """Whether nothing is carried at all."""
    return (carries_in(a, b, places) == 0).all(-1)
