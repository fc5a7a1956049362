"""Random tokens that repeat after a random number of places, and the same without repeats."""

import string

import torch
from jaxtyping import Bool, Int
from torch import Tensor

WORDS = (*string.ascii_lowercase, *string.ascii_uppercase, *string.digits, "+", "-")
"""The 64 tokens; they mean nothing."""
LENGTH = 48
"""Tokens of a sequence."""
PERIODS = (8, 24)
"""The shortest and the longest block."""
SPREAD = 1_000_003
"""Seeds of a training's steps lie this far from those of the next training."""


def repeating(batch: int, seed: int) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch"]]:
    """Sequences in which a block of different tokens is repeated to the end, and how long each block is."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(batch, len(WORDS), generator=generator).argsort(-1)
    periods = torch.randint(PERIODS[0], PERIODS[1] + 1, (batch,), generator=generator)
    return order.gather(1, torch.arange(LENGTH) % periods[:, None]), periods


def unrelated(batch: int, seed: int) -> Int[Tensor, "batch pos"]:
    """Sequences in which each token is drawn by itself: nothing can be known of the next one."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(WORDS), (batch, LENGTH), generator=generator)


def known(periods: Int[Tensor, "batch"]) -> Bool[Tensor, "batch next"]:
    """Which next tokens can be known: those after a token that has been there before."""
    return torch.arange(1, LENGTH) > periods[:, None]
