"""What organises the queries and keys of a head: groups of tokens, a trait of patches, or nothing; and their lengths.

Shares of variance are adjusted for chance as in an adjusted R squared: their mean over all orders of the labels is
exactly 0, so that many groups or few points raise nothing, and a share slightly below 0 is as good as 0. 1 is all of
the variance. Half precision is computed in float32. A head whose vectors are all the same has no variance: NaN.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_finite, need_whole_numbers
from workbench.functional.precision import precise


@dataclass(frozen=True, eq=False, kw_only=True)
class CloudScore:
    """One share of variance a head, and what it was taken over."""

    values: Float[Tensor, "*heads"]
    """At most 1. NaN where nothing can be said: too few points or groups, or vectors that are all the same."""
    points: int
    """Vectors in it."""
    left_out: int
    """Vectors that were not: without a label or value, or alone in their group."""
    groups: int = 0
    """Groups that were compared; 0 where the trait is a number."""


def norm_gap(
    queries: Real[Tensor, "*heads query d_head"], keys: Real[Tensor, "*heads key d_head"]
) -> Float[Tensor, "*heads"]:
    """How much longer a head's queries are than its keys: mean length of queries minus mean length of keys.

    Of the raw vectors, before any alignment. Yeh et al. (2023), AttentionViz.
    """
    for name, vectors in (("query", queries), ("key", keys)):
        need_axes("Queries and keys", vectors, f"{name} d_head")
        if not vectors.shape[-2]:
            raise BadInput(f"There is no {name} to measure; the shape is {tuple(vectors.shape)}.")
    if queries.shape[:-2] != keys.shape[:-2]:
        raise BadInput(f"Queries {tuple(queries.shape)} and keys {tuple(keys.shape)} are not of the same heads.")
    long, short = (precise(vectors).norm(dim=-1).mean(-1) for vectors in (queries, keys))
    return long - short


def cluster_score(vectors: Real[Tensor, "*heads point d"], labels: Int[Tensor, "point"]) -> CloudScore:
    """How far the vectors of a head fall into clumps by label: the share of variance between groups, adjusted.

    epsilon^2 = 1 - (within / (n - groups)) / (total / (n - 1)), the sums of squares over all dimensions; Kelley (1935).
    Labels below 0 are left out, and so are groups of one vector, which are trivially tight. One pass over a head.
    """
    need_whole_numbers("Labels", labels)
    _check_points(vectors, labels, "label")
    named, group, size = labels.unique(return_inverse=True, return_counts=True)
    usable = (named >= 0) & (size > 1)
    chosen = usable[group].nonzero().squeeze(-1)
    number = usable.cumsum(0)[group[chosen]] - 1  # groups counted from 0, without those left out
    n, groups = len(chosen), int(usable.sum())
    values = precise(vectors).new_full(vectors.shape[:-2], torch.nan)
    if groups > 1 and n > groups:
        sizes = size[usable].to(values)
        for head, cloud in zip(values.view(-1), vectors.reshape(-1, *vectors.shape[-2:]), strict=True):
            centred, total = centred_rows(cloud[chosen.to(cloud.device)])
            sums = centred.new_zeros(groups, centred.shape[-1]).index_add_(0, number.to(cloud.device), centred)
            between = (sums.square().sum(-1) / sizes).sum()
            head.copy_(_adjusted(between / total, n, groups - 1))
    return CloudScore(values=values, points=n, left_out=len(labels) - n, groups=groups)


def trait_score(
    vectors: Real[Tensor, "*heads point d"], values: Real[Tensor, "point"], *, circular: bool = False
) -> CloudScore:
    """How far a number says where a vector lies: the share of the vectors' variance that is linear in it, adjusted.

    It is the cloud that is explained, not the number: that a trait can be read off the vectors somehow is true of most
    heads and says little, that it lays the cloud out is what a picture shows. `circular` takes values in turns, where
    0 and 1 are the same, and explains by their cosine and sine. NaN values are left out. One product a head.
    """
    _check_points(vectors, values, "value")
    defined = values.isfinite().nonzero().squeeze(-1)
    trait = precise(values)[defined]
    columns = _circle(trait) if circular else trait[:, None]
    columns = columns - columns.mean(0)
    basis, kept = _orthonormal(columns)
    n = len(defined)
    found = precise(vectors).new_full(vectors.shape[:-2], torch.nan)
    if kept and n > kept + 1:
        for head, cloud in zip(found.view(-1), vectors.reshape(-1, *vectors.shape[-2:]), strict=True):
            centred, total = centred_rows(cloud[defined.to(cloud.device)])
            head.copy_(_adjusted((basis.to(centred).T @ centred).square().sum() / total, n, kept))
    return CloudScore(values=found, points=n, left_out=len(values) - n)


def centred_rows(
    cloud: Real[Tensor, "*heads point d"],
) -> tuple[Float[Tensor, "*heads point d"], Float[Tensor, "*heads"]]:
    """The vectors without their mean, and their sum of squares; NaN where they differ by rounding alone."""
    given = precise(cloud)
    centred = given - given.mean(-2, keepdim=True)
    total, length = (x.square().sum((-2, -1)) for x in (centred, given))
    rounding = (16 * torch.finfo(given.dtype).eps) ** 2 * length
    return centred, total.where(total > rounding, torch.nan)


def _adjusted(share: Tensor, n: int, degrees: int) -> Tensor:
    return 1 - (1 - share) * (n - 1) / (n - 1 - degrees)


def _circle(turns: Tensor) -> Tensor:
    angle = turns * (2 * math.pi)
    return torch.stack([angle.cos(), angle.sin()], -1)


def _orthonormal(columns: Tensor) -> tuple[Tensor, int]:
    """Directions that span the columns, and how many there are: a constant trait has none."""
    if not len(columns):
        return columns, 0
    u, s, _ = torch.linalg.svd(columns, full_matrices=False)
    kept = int((s > 16 * torch.finfo(s.dtype).eps * max(float(columns.abs().max()), 1) * math.sqrt(len(columns))).sum())
    return u[:, :kept], kept


def _check_points(vectors: Tensor, beside: Tensor, what: str) -> None:
    need_axes("Vectors", vectors, "point d")
    need_axes(f"{what.capitalize()}s", beside, "point", batched=False)
    if vectors.shape[-2] != len(beside):
        raise BadInput(f"Each vector has one {what}: there are {vectors.shape[-2]} vectors and {len(beside)} {what}s.")
    need_finite("vectors", vectors)
