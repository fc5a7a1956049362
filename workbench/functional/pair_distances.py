"""What is known of each pair of a query and a key, dot product and distances, and how well these go together.

A column is one number a pair with its ranks, both in double precision; a stage is three columns. Pairs that are not
valid are zero, rank included. Everything follows from q.k, |q|^2 and |k|^2 of each pair, taken once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.functional.correlation import correlated, ranked, standardised

TIED = 2.0**-40
"""Values nearer than this part of the largest share a rank: equal but for the rounding of double precision."""
GRID = 1201
"""Scales looked at, over three powers of ten each way from where norms match: steps of about one percent."""


class Column(NamedTuple):
    """One number a pair: (*batch, pair)."""

    values: Tensor
    ranks: Tensor


class Stage(NamedTuple):
    """The columns that are compared."""

    dots: Column
    cosine: Column
    euclidean: Column


def column(values: Tensor, valid: Tensor) -> Column:
    """Values with their ranks."""
    values = values.double().masked_fill(~valid, 0.0)
    largest = values.abs().amax(-1, keepdim=True)
    level = (largest * TIED).where(largest > 0, 1.0)
    return Column(values, ranked((values / level).round(), valid))


def from_squares(squared: Tensor, valid: Tensor) -> Column:
    """Distances from their squares, and ranked by these: a root makes much of rounding near zero."""
    squares = column(squared.clamp_min(0.0), valid)
    return Column(squares.values.sqrt(), squares.ranks)


def stage(dots: Tensor, of_query: Tensor, of_key: Tensor, valid: Tensor) -> Stage:
    """The columns from dot products and squared norms."""
    cosine = column(1 - dots / (of_query * of_key).sqrt(), valid)
    return Stage(column(dots, valid), cosine, from_squares(of_query + of_key - 2 * dots, valid))


def pair_dots(q: Tensor, k: Tensor, pairs: Tensor) -> Tensor:
    """q.k of each pair, in chunks that stay in the cache."""
    each = [
        torch.einsum("...pd,...pd->...p", q[..., some[:, 0], :], k[..., some[:, 1], :]) for some in pairs.split(1024)
    ]
    return torch.cat(each, -1)


def rank_correlation(a: Column, b: Column, share: Tensor) -> Tensor:
    """Spearman's, with pairs counting for their share: (*batch)."""
    return correlated(standardised(a.ranks, share), standardised(b.ranks, share), share)


def correlations(stages: Sequence[Stage], share: Tensor) -> Tensor:
    """Of both distances with the dot product, Spearman's and Pearson's: (*batch, stage, distance, statistic)."""
    found = []
    for dots, *distances in stages:
        ranks, values = standardised(dots.ranks, share), standardised(dots.values, share)
        for distance in distances:
            found.append(correlated(standardised(distance.ranks, share), ranks, share))
            found.append(correlated(standardised(distance.values, share), values, share))
    return torch.stack(found, -1).unflatten(-1, (len(stages), 2, 2))


def best_squared_scale(of_query: Tensor, of_key: Tensor, dots: Tensor, share: Tensor) -> Tensor:
    """The t = c^2 at which corr(t |q|^2 + |k|^2 / t - 2 q.k, q.k) is lowest, from the covariances of the three."""
    three = torch.stack([of_query, of_key, dots], -2).masked_fill((share == 0)[..., None, :], 0.0)
    mean = torch.einsum("...p,...ip->...i", share, three)
    three = three - mean[..., None]
    covariance = torch.einsum("...ip,...jp->...ij", share[..., None, :] * three, three)
    matched = (mean[..., 1] / mean[..., 0]).sqrt()[..., None]
    t = matched * torch.logspace(-6, 6, GRID, dtype=torch.double, device=dots.device)  # (*batch, grid)
    parts = torch.stack([t, 1 / t, torch.full_like(t, -2.0)], -1)
    covaried = parts @ covariance
    found = covaried[..., 2] / ((parts * covaried).sum(-1) * covariance[..., 2, 2, None]).sqrt()
    return t.gather(-1, found.nan_to_num(nan=torch.inf).argmin(-1, keepdim=True)).squeeze(-1)
