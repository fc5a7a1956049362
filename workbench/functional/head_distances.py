"""How far heads are from each other, by where they look or by what they read and write, and a map of the distances."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_finite, need_whole
from workbench.functional.precision import precise
from workbench.functional.rollout import ROW_SUM_TOLERANCE, SINGLE_TOLERANCE

_BLOCK = 2**23
"""Numbers held at once beside the patterns or weights themselves: 64 MB in double precision."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadMap:
    """Points in the plane whose distances are near those given, and how near."""

    coordinates: Float[Tensor, "head dim"]
    """In units of the distances; each axis has its farthest point on the positive side."""
    kept: float
    """Share of the squared distances that these dimensions hold (eigenvalues kept over the sum of all sizes)."""
    stress: float
    """Kruskal's stress-1: root of the squared errors of the distances over the sum of their squares; 0 is exact."""


def pattern_divergence(
    patterns: Iterable[Float[Tensor, "head query key"]],
    *,
    precision: torch.dtype | None = None,
    names: Sequence[str] = (),
) -> Float[Tensor, "head head"]:
    """How differently each two heads look: mean Jensen-Shannon divergence of their rows, in nats, 0 to log 2.

    `patterns` are those of one input after another (a list, a generator, or a tensor whose first axis is inputs), of
    any lengths; each row counts alike and sums to one. Rows that are zero in every head (padding) are left out.
    `precision` is the type that attention was computed in, when it is not that of `patterns`; half precision rounds
    more. `names` are what heads are called when one of them is refused. The square root of the result is a Euclidean
    distance. O(head^2 query key) an input; one input is held at a time.
    Clark et al. (2019), What Does BERT Look At?
    """
    total, rows = None, 0
    for one in patterns:
        need_axes("Patterns come one input after another: those of one", one, "head query key", batched=False)
        there = (one != 0).any(0)  # (query, key)
        _check_rows(one, there.any(-1), precision or one.dtype, names)
        if total is not None and len(total) != len(one):
            raise BadInput(f"Each input needs the same heads: {len(total)} before, {len(one)} now.")
        found = _divergences(precise(one)[:, there])
        total, rows = found if total is None else total + found, rows + int(there.any(-1).sum())
    if total is None or not rows:
        raise BadInput("There are no rows of attention to compare heads by: give at least one pattern.")
    return total / rows


def _check_rows(one: Tensor, real: Tensor, precision: torch.dtype, names: Sequence[str]) -> None:
    """Refuse what is no attention, with the head and the row where it is worst."""
    if not one.numel():
        return
    sums = precise(one).sum(-1)
    off = (sums - 1).abs().masked_fill(~real, 0.0)
    within = bool((one >= 0).all()) and float(off.max()) <= ROW_SUM_TOLERANCE.get(precision, SINGLE_TOLERANCE)
    if within:  # NaN is not
        return
    bad = (~one.isfinite()).any(-1)
    bad = bad if bad.any() else (one < 0).any(-1)
    head, row = divmod(int(bad.byte().argmax() if bad.any() else off.argmax()), one.shape[1])
    name = names[head] if names else f"head {head}"
    if bad.any():
        raise BadInput(
            f"Attention is finite and never negative, and that of {name} is not, first in row {row}: leave out what is "
            "masked altogether."
        )
    raise BadInput(
        f"Rows of attention sum to one, but row {row} of {name} sums to {float(sums[head, row]):.6g}. "
        "Cut padded positions off, turn dropout off, or divide each row by its sum."
    )


def _divergences(weights: Float[Tensor, "head entry"]) -> Float[Tensor, "head head"]:
    """Sums over entries of the divergence of each two heads: the entropy of the mean less the mean entropy."""
    n_heads, n = weights.shape
    sums = torch.zeros(n_heads, n_heads, dtype=torch.float64, device=weights.device)
    step = max(1, _BLOCK // max(1, n_heads))
    for block in weights.split(step, dim=1):
        own = torch.special.entr(block)  # (head, entry)
        for i in range(n_heads - 1):
            middle = (block[i] + block[i + 1 :]) / 2
            gap = torch.special.entr(middle) - (own[i] + own[i + 1 :]) / 2
            sums[i, i + 1 :] += gap.sum(-1, dtype=torch.float64)
    return (sums + sums.T).clamp(min=0).to(weights.dtype)


def principal_angles(
    a: Float[Tensor, "*batch d_model rank"], b: Float[Tensor, "*batch d_model rank"]
) -> Float[Tensor, "*batch rank"]:
    """The angles between the spaces that the columns of two matrices span, in radians, 0 to pi / 2, smallest first.

    Columns must be independent. Small angles come from their sines, as cosines near 1 tell them apart no more (Knyazev
    & Argentati 2002).
    """
    for x in (a, b):
        need_axes("Spanning columns", x, "d_model rank")
        need_finite("rows", x)
    if a.shape != b.shape or a.shape[-1] > a.shape[-2]:
        raise BadInput(
            "Angles are between two spaces of as many directions, which are no more than d_model: "
            f"{tuple(a.shape)} and {tuple(b.shape)} do not fit."
        )
    one, two = (torch.linalg.qr(precise(x)).Q for x in (a, b))
    overlap = one.mT @ two
    cosine = torch.linalg.svdvals(overlap).clamp(max=1)
    sine = torch.linalg.svdvals(two - one @ overlap).clamp(max=1).flip(-1)
    return torch.where(cosine.square() > 0.5, sine.asin(), cosine.acos())


def subspace_distance(weights: Float[Tensor, "head d_model d_head"]) -> Float[Tensor, "head head"]:
    """How different the spaces are that each two heads read (W_Q, W_K, W_V) or write (W_O transposed): 0 to 1.

    The root mean square sine of their principal angles: 0 for the same space, 1 where all angles are right; two random
    spaces are near sqrt(1 - d_head / d_model). Where ranks differ, directions without a partner count as right angles.
    A Euclidean distance (between projectors), the same for W and W A. In double precision; O(head^2 d_model
    min(d_head^2, d_model)).
    """
    need_axes("Weights of heads", weights, "head d_model d_head", batched=False)
    if not weights.isfinite().all():
        raise BadInput("Spaces of weights need finite numbers: there is NaN or infinity in these.")
    bases, ranks = _bases(weights.double(), torch.finfo(precise(weights).dtype).eps)
    shared = _overlaps(bases)  # sums of squared cosines
    largest = torch.maximum(ranks[:, None], ranks[None, :])  # 0 of two heads without weights, whose space is the same
    distance = ((largest - shared) / largest.clamp(min=1)).clamp(min=0).sqrt()
    return distance.fill_diagonal_(0).to(precise(weights).dtype)


def _bases(
    weights: Float[Tensor, "head d_model d_head"], eps: float
) -> tuple[Float[Tensor, "head d_model core"], Int[Tensor, "head"]]:
    """An orthonormal basis of each column space, zeros where it has fewer directions than columns, and its rank."""
    left, values, _ = torch.linalg.svd(weights, full_matrices=False)
    there = values > values[:, :1] * max(weights.shape[1:]) * eps
    return left * there[:, None], there.sum(-1)


def _overlaps(bases: Float[Tensor, "head d_model core"]) -> Float[Tensor, "head head"]:
    """||U_i^T U_j||^2 of each two heads: block by block, or from their projectors if that is less."""
    n_heads, d_model, d_head = bases.shape
    found = bases.new_zeros(n_heads, n_heads)
    if d_head**2 <= d_model:
        flat = bases.transpose(0, 1).flatten(1)  # (d_model, head * d_head)
        for i, basis in enumerate(bases):
            found[i] = (basis.mT @ flat).square().unflatten(1, (n_heads, d_head)).sum((0, 2))
        return found
    for rows in bases.split(max(1, _BLOCK // (n_heads * d_model)), dim=1):
        projectors = (rows @ bases.mT).flatten(1)  # (head, row * d_model)
        found += projectors @ projectors.T
    return found


def mds(distances: Float[Tensor, "head head"], dims: int = 2) -> HeadMap:
    """A map on which near heads lie near each other: classical multidimensional scaling, the same at every call.

    Eigenvectors of the doubly centred squared distances; exact in as many dimensions as Euclidean distances
    need. Signs are fixed; axes of equal weight may turn. O(head^3). Torgerson (1952).
    """
    need_axes("Distances between heads", distances, "head head", batched=False)
    need_whole("dims", dims)
    if distances.shape[0] != distances.shape[1] or not len(distances):
        raise BadInput(f"A map needs a square matrix of distances, not {tuple(distances.shape)}.")
    d = distances.double()
    if not d.isfinite().all() or (d < 0).any() or not torch.allclose(d, d.T, atol=1e-5) or d.diagonal().any():
        raise BadInput("Distances are finite and not negative, the same both ways, and 0 to oneself; these are not.")
    if dims < 1:
        raise BadInput(f"A map needs at least one dimension, not {dims}.")
    squared = ((d + d.T) / 2).square()
    centred = squared - squared.mean(0) - squared.mean(1, keepdim=True) + squared.mean()
    values, vectors = torch.linalg.eigh(-centred / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    most = min(dims, len(d))
    points = d.new_zeros(len(d), dims)
    points[:, :most] = vectors[:, :most] * values[:most].clamp(min=0).sqrt()
    farthest = points.gather(0, points.abs().argmax(0, keepdim=True))
    points = points * farthest.sign()
    total, error = values.abs().sum(), (torch.cdist(points, points) - d).square().sum()
    zero = not d.any()
    return HeadMap(
        coordinates=points.to(precise(distances).dtype),
        kept=1.0 if zero else float(values[:most].clamp(min=0).sum() / total),
        stress=0.0 if zero else float((error / d.square().sum()).sqrt()),
    )
