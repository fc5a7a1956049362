"""Vectors for numbers that are like those of large language models: a value, and waves of the periods found there."""

import math

import torch
from torch import Tensor

PERIODS = (2.0, 2.5, 5.0, 10.0, 20.0, 50.0, 100.0)
"""The first four stand out in the number embeddings of GPT-2-XL, GPT-J and others (Zhou et al. 2024, figures 4 and 5);
the longer ones tell magnitudes."""
SLOW = (50.0, 100.0)


def wave_table(
    n: int, width: int, *, periods: tuple[float, ...] = PERIODS, noise: float = 0.1, seed: int = 0
) -> Tensor:
    """(n, width) vectors of mean length 1: each number's value and waves, along random orthogonal directions.

    Noise of `noise` times the length of a wave is added to each vector, so that no two models see the same table.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(n, dtype=torch.float32)
    columns = [x / n - 0.5]
    for period in periods:
        turn = 2 * math.pi * x / period
        columns += [turn.cos()] if period == 2 else [turn.cos(), turn.sin()]  # at period 2 the sin is 0 everywhere
    features = torch.stack(columns, dim=1)
    directions = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[: features.shape[1]]
    table = features @ directions + noise * torch.randn(n, width, generator=generator) / width**0.5
    return table / table.norm(dim=1).mean()


def exchanged(table: Tensor, seed: int) -> Tensor:
    """The same vectors, each for another number: what is left when the order is gone."""
    return table[torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))]
