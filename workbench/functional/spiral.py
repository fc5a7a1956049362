"""Whether the vectors of a head wind around as positions go on: the spirals that AttentionViz shows, as a number.

Yeh et al. (2023), AttentionViz, tell them by eye.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_whole, need_whole_numbers
from workbench.functional.cloud_scores import centred_rows, cluster_score

FEWEST_POSITIONS = 4
"""Three points always lie in a plane, and turn one way."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Spiral:
    """How the mean vectors of the positions follow each other, a head."""

    score: Float[Tensor, "*heads"]
    """max(explained, 0) * planar * round * steady * min(1, turns): 1 only if all five are. NaN if undefined."""
    explained: Float[Tensor, "*heads"]
    """Share of the variance of the vectors that their position explains, adjusted for chance (`cluster_score`)."""
    planar: Float[Tensor, "*heads"]
    """Share of the variance of the positions' means that lies in their best plane."""
    round: Float[Tensor, "*heads"]
    """How even the curve fills its plane: twice the smaller variance over both. 1 for a circle, 0 for a line."""
    turns: Float[Tensor, "*heads"]
    """Net winding of the curve around its centre, in turns; each step goes the shorter way around. Never negative: a
    plane in many dimensions has no side to look from."""
    steady: Float[Tensor, "*heads"]
    """Net over gross area that the curve sweeps around its centre: 1 if it always turns one way. 0 on a line."""
    positions: int
    """Positions on the curve."""
    points: int
    """Vectors at those positions."""
    left_out: int
    """Vectors elsewhere: at positions below 0 or with too few vectors."""


def position_spiral(
    vectors: Real[Tensor, "*heads point d"], positions: Int[Tensor, "point"], *, fewest: int = 5
) -> Spiral:
    """How far vectors wind around steadily in a plane as the position goes on, from 0 to 1.

    The curve is the mean vector of each position, in order, seen in the plane of its two main directions. Positions
    below 0, and those with fewer than `fewest` vectors, are left out; with less than four positions nothing can be
    said. Sudden jumps (a first position unlike all others) set the plane: mark such positions -1. A head that has
    half a turn between positions cannot be told from one that goes back. One small decomposition a head.
    """
    need_whole("fewest", fewest)
    need_axes("Vectors", vectors, "point d")
    need_axes("Positions", positions, "point", batched=False)
    need_whole_numbers("Positions", positions)
    if fewest < 2:
        raise BadInput(f"A position needs at least 2 vectors to have a spread; fewest={fewest}.")
    if vectors.shape[-2] != len(positions):
        raise BadInput(f"{vectors.shape[-2]} vectors and {len(positions)} positions: each vector has one position.")
    named, place, size = positions.unique(return_inverse=True, return_counts=True)
    usable = (named >= 0) & (size >= fewest)
    labels = torch.where(usable[place], usable.cumsum(0)[place] - 1, -1)
    n_positions, n_points = int(usable.sum()), int(size[usable].sum())
    explained = cluster_score(vectors, labels).values
    if n_positions < FEWEST_POSITIONS:
        nothing = torch.full_like(explained, torch.nan)
        parts = dict.fromkeys(("explained", "planar", "round", "turns", "steady"), nothing)
    else:
        parts = {"explained": explained, **_curve(_means(vectors, labels.to(vectors.device), n_positions))}
    score = parts["explained"].clamp_min(0) * parts["turns"].clamp_max(1)
    for name in ("planar", "round", "steady"):
        score = score * parts[name]
    return Spiral(score=score, **parts, positions=n_positions, points=n_points, left_out=len(positions) - n_points)


def _means(vectors: Tensor, labels: Tensor, groups: int) -> Tensor:
    """The mean vector of each group, (*heads, group, d); labels below 0 belong to none."""
    chosen = (labels >= 0).nonzero().squeeze(-1)
    sizes = labels[chosen].bincount(minlength=groups)[:, None]
    heads = vectors.reshape(-1, *vectors.shape[-2:])
    means = []
    for head in heads:
        cloud = head[chosen].to(torch.promote_types(head.dtype, torch.float32))
        means.append(cloud.new_zeros(groups, cloud.shape[-1]).index_add_(0, labels[chosen], cloud) / sizes)
    return torch.stack(means).unflatten(0, vectors.shape[:-2]) if vectors.ndim > 2 else means[0]


def _curve(means: Tensor) -> dict[str, Tensor]:
    centred, total = centred_rows(means)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    if s.shape[-1] < 2:  # vectors of one dimension
        u, s = (torch.nn.functional.pad(x, (0, 1)) for x in (u, s))
    x, y = (u[..., i] * s[..., i, None] for i in (0, 1))  # (*heads, position)
    first, second = (s[..., i].square() for i in (0, 1))
    cross = x[..., :-1] * y[..., 1:] - y[..., :-1] * x[..., 1:]
    dot = x[..., :-1] * x[..., 1:] + y[..., :-1] * y[..., 1:]
    swept = cross.abs().sum(-1)
    visible = swept > 64 * torch.finfo(s.dtype).eps * first  # else a line: what it sweeps is rounding
    return {
        "planar": (first + second) / total,
        "round": 2 * second / (first + second) + 0 * total,
        "turns": torch.atan2(cross, dot).sum(-1).abs() / (2 * math.pi) + 0 * total,
        "steady": torch.where(visible, cross.sum(-1).abs() / swept, 0.0) + 0 * total,
    }
