"""How far a picture of a cloud can be believed: whether what is near in it is near in the space that it was drawn from.

Both numbers ask, for a point and the k points nearest to it in the picture, what rank these have among all points by
distance in the full space.
Reference: Venna & Kaski (2001), "Neighborhood preservation in nonlinear projection methods: an experimental study".
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench import progress
from workbench.errors import BadInput
from workbench.functional.checks import need_finite, need_whole
from workbench.functional.neighbours import directions, in_double, power_of_two

Metric = Literal["cosine", "euclidean"]
BLOCK = 2**18
"""Distances at a time: 2 MiB, which stay in the processor's cache."""
ROUNDING = 1e-13
"""Differences of squared distances, as a share of the longest, that are no differences."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureQuality:
    """What a picture keeps of the neighbours in the full space; 1 is all."""

    trustworthiness: Float[Tensor, "*heads"]
    """1 less the mean of how far beyond the k nearest the picture's neighbours are; about 0.5 for a random picture."""
    preservation: Float[Tensor, "*heads"]
    """The mean share of the picture's k nearest that are among the k nearest; k / (n - 1) for a random picture."""
    chance: float
    """k / (n - 1): the preservation of a random picture of n points."""


@torch.no_grad()
def picture_quality(
    points: Real[Tensor, "*heads point d"],
    coordinates: Real[Tensor, "*heads point dims"],
    k: int = 15,
    *,
    anchors: int = 300,
    seed: int = 0,
    metric: Metric = "cosine",
) -> PictureQuality:
    """Trustworthiness and neighbour preservation of each picture at once, at the cost of either.

    Distances are Euclidean in the picture and by `metric` in the full space. Means are over `anchors` points drawn with
    `seed`, the same of every cloud; over all of them where there are no more, and then they are exact. Points at the
    same distance in the full space share the best of their ranks, so no picture is blamed for which of them it has
    near; those at the same distance in the picture are taken in an order drawn for each anchor, so a picture that puts
    all points on one is no better than chance.

    Time grows with anchors * point * (d + k), about 20 ms for 300 of 4,000 points of 64 dimensions on one
    core; memory is a few copies of the cloud in double precision and blocks of 2 MiB.
    """
    _check(points, coordinates, k, anchors, metric)
    n = points.shape[-2]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(points.device)
    clouds, pictures = (x.reshape(-1, *x.shape[-2:]) for x in (points, coordinates))
    scores = []
    for cloud, picture in progress.track(list(zip(clouds, pictures, strict=True)), label="quality of the picture"):
        ranks = _ranks(cloud[order], picture[order.to(picture.device)], k, min(anchors, n), seed, metric)
        beyond = (ranks - k).clamp(min=0).sum(-1).mean() * 2 / (k * (2 * n - 3 * k - 1))
        scores.append(torch.stack([1 - beyond, (ranks <= k).double().mean()]))
    real = torch.promote_types(torch.promote_types(points.dtype, coordinates.dtype), torch.float32)
    both = torch.stack(scores).to(points.device, real)  # (head, 2)
    trusted, kept = (score.reshape(points.shape[:-2]) for score in both.unbind(-1))
    return PictureQuality(trustworthiness=trusted, preservation=kept, chance=k / (n - 1))


def trustworthiness(
    points: Real[Tensor, "*heads point d"],
    coordinates: Real[Tensor, "*heads point dims"],
    k: int = 15,
    *,
    anchors: int = 300,
    seed: int = 0,
    metric: Metric = "cosine",
) -> Float[Tensor, "*heads"]:
    """Whether points that are near in the picture are near in the full space: 1 where they are, 0.5 by chance.

    1 - 2 / (m k (2n - 3k - 1)) * sum over m anchors and the k nearest in the picture of max(0, rank - k), where ranks
    in the full space count from 1. See `picture_quality` for the rest.
    """
    return picture_quality(points, coordinates, k, anchors=anchors, seed=seed, metric=metric).trustworthiness


def neighbour_preservation(
    points: Real[Tensor, "*heads point d"],
    coordinates: Real[Tensor, "*heads point dims"],
    k: int = 15,
    *,
    anchors: int = 300,
    seed: int = 0,
    metric: Metric = "cosine",
) -> Float[Tensor, "*heads"]:
    """Which share of the k nearest points is still among the k nearest in the picture, k / (n - 1) by chance.

    See `picture_quality` for the rest.
    """
    return picture_quality(points, coordinates, k, anchors=anchors, seed=seed, metric=metric).preservation


def _ranks(cloud: Tensor, picture: Tensor, k: int, anchors: int, seed: int, metric: str) -> Tensor:
    """Ranks (anchor, k) in the cloud, from 1, of the k nearest in the picture of its first points."""
    cloud = in_double(cloud)
    cloud = cloud / power_of_two(cloud, (-2, -1))
    picture = picture.to(cloud.device, torch.promote_types(picture.dtype, torch.float32))
    picture = picture / power_of_two(picture, (-2, -1))
    if metric == "cosine":
        seen = asked = directions(cloud)
    else:  # half of the squared length of the anchor less that of the distance: near is large
        cloud = cloud - cloud.mean(0)
        halves = cloud.square().sum(-1, keepdim=True) / 2
        seen, asked = torch.cat([cloud, -halves], -1), torch.cat([cloud, torch.ones_like(halves)], -1)
    tie = ROUNDING * float(seen[:, : cloud.shape[1]].square().sum(-1).max())
    seen = seen.mT.contiguous()
    ranks, random = [], torch.Generator().manual_seed(seed)
    for rows in torch.arange(anchors, device=cloud.device).split(max(1, BLOCK // len(cloud))):
        itself = torch.arange(len(rows), device=cloud.device)
        apart = _squared(picture[rows], picture)
        apart[itself, rows] = torch.inf
        near = _smallest(apart, k, random)
        nearness = asked[rows] @ seen  # (row, point)
        nearness[itself, rows] = -torch.inf
        bounds = nearness.gather(-1, near) + tie
        closer = torch.empty_like(nearness)  # as numbers, whose sums are several times as fast as those of booleans
        counts = [torch.gt(nearness, bound[:, None], out=closer).sum(-1) for bound in bounds.unbind(-1)]
        ranks.append(1 + torch.stack(counts, -1))
    return torch.cat(ranks)


def _squared(some: Tensor, points: Tensor) -> Tensor:
    """Squared distances (some, point), axis by axis: of equal points exactly 0."""
    apart = torch.zeros(len(some), len(points), dtype=points.dtype, device=points.device)
    for ours, theirs in zip(some.mT[:, :, None], points.mT, strict=True):
        apart += (ours - theirs).square_()
    return apart


def _smallest(values: Tensor, k: int, random: torch.Generator) -> Tensor:
    """Where the k smallest of each row are; which of equal ones, where not all are among them, is drawn."""
    found = values.topk(k + 1, largest=False)
    where = found.indices[:, :k].contiguous()
    for row in (found.values[:, k - 1] == found.values[:, k]).nonzero().flatten().tolist():
        order = torch.randperm(values.shape[1], generator=random).to(values.device)
        where[row] = order[values[row, order].argsort(stable=True)[:k]]
    return where


def _check(points: Tensor, coordinates: Tensor, k: int, anchors: int, metric: str) -> None:
    if points.ndim < 2 or points.shape[:-1] != coordinates.shape[:-1]:
        raise BadInput(
            f"Points {tuple(points.shape)} and coordinates {tuple(coordinates.shape)} are not of the same points: "
            "all axes but the last are equal."
        )
    need_whole("k", k)
    need_whole("anchors", anchors)
    n = points.shape[-2]
    if not 1 <= k < n / 2:
        raise BadInput(
            f"k={k} neighbours cannot be judged among {n} points: k is less than half of them"
            + (f", at most {(n - 1) // 2} here." if n > 2 else ", so it takes 3 points at least.")
        )
    if anchors < 1:
        raise BadInput(f"The mean is over one anchor at least, not {anchors}.")
    if metric not in ("cosine", "euclidean"):
        raise BadInput(f"Distances are 'cosine' or 'euclidean', not {metric!r}.")
    for name, x in (("points", points), ("coordinates", coordinates)):
        need_finite(name, x)
