"""Queries and keys of a head in one space, where what is near is attended to, and how well distance tells attention.

Two moves leave attention as it is. A vector added to every key adds the same q.a to all scores of a query, which its
softmax does not see; queries times c and keys over c have the same dot products.

Reference: Yeh et al. (2023), "AttentionViz: A Global View of Transformer Attention".
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput, UnknownName
from workbench.functional.correlation import shares
from workbench.functional.neighbours import in_double
from workbench.functional.pair_distances import (
    Column,
    best_squared_scale,
    column,
    correlations,
    from_squares,
    pair_dots,
    rank_correlation,
    stage,
)
from workbench.functional.pairs import at_pairs, chosen_pairs
from workbench.functional.precision import precise_type

STAGES = ("before", "translated", "aligned")
DISTANCES = ("cosine", "euclidean")
STATISTICS = ("spearman", "pearson")

NOTHING = 1e-12
"""A squared norm, or a variance, this small beside the mean squared norm is rounding of single precision."""
BETTER = 1e-9
"""A scale must improve the correlation by more than rounding to be taken."""


@dataclass(frozen=True, eq=False, kw_only=True)
class JointQK:
    """Queries and keys aligned, by what, and how well distance between them tells the dot product at each stage."""

    queries: Float[Tensor, "*batch query d_head"]
    """Aligned: times the scale."""
    keys: Float[Tensor, "*batch key d_head"]
    """Aligned: with the translation added, then over the scale."""
    translation: Float[Tensor, "*batch d_head"]
    """Mean query less mean key."""
    scale: Float[Tensor, "*batch"]
    correlations: Float[Tensor, "*batch stage distance statistic"]
    """Of distance with dot product over pairs, axes as `STAGES`, `DISTANCES`, `STATISTICS`; -1 is best, NaN undefined.
    """
    weighted: Float[Tensor, "*batch stage distance statistic"] | None
    """The same where pairs count by their weights; None without weights."""
    of_scores: Float[Tensor, "*batch stage distance statistic"] | None
    """The same with the given scores in the place of dot products; None without scores."""
    n_pairs: int
    """Pairs looked at, the same ones for the whole batch."""
    dropped: Int[Tensor, "*batch"]
    """How many of these were left out: those with a vector of no length, or all where queries or keys are all alike."""

    def correlation(
        self,
        stage: Literal["before", "translated", "aligned"] = "aligned",
        distance: Literal["cosine", "euclidean"] = "cosine",
        statistic: Literal["spearman", "pearson"] = "spearman",
    ) -> Float[Tensor, "*batch"]:
        """One of the correlations by name; the paper's figure is that of the defaults."""
        asked = (("stage", stage, STAGES), ("distance", distance, DISTANCES), ("statistic", statistic, STATISTICS))
        for what, name, names in asked:
            if name not in names:
                raise UnknownName(what, name, names)
        return self.correlations[(..., *(names.index(name) for _, name, names in asked))]


def joint_qk(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    valid_pairs: Bool[Tensor, "query key"] | Int[Tensor, "pair 2"] | None = None,
    *,
    weights: Real[Tensor, "..."] | None = None,
    scores: Real[Tensor, "..."] | None = None,
    translate: bool = True,
    max_pairs: int = 20_000,
    seed: int = 0,
) -> JointQK:
    """Queries and keys in one space, and how well distance there tells the dot product that attention is made of.

    Keys get a = mean(q) - mean(k), so that centroids coincide; then q <- c q and k <- k / c. The scale c is that at
    which the squared Euclidean distance follows the dot product best (Pearson's, from the covariances of |q|^2, |k|^2
    and q.k); it stays 1 unless that makes the Euclidean Spearman correlation better. Cosine distance does not see c.
    Dot products are those of the vectors as they stand at the stage: translation adds q.a to them. Where queries and
    keys have a large mean in common, raw cosines tell dot products better than centred ones do, in two clouds that lie
    apart: `translate=False` leaves keys where they are, and both stages are alike.

    `valid_pairs` are the pairs (row of a query, row of a key) that count, or true where one does: those that can
    attend. Without, all pairs. Of more than `max_pairs`, a seeded sample. `weights` make pairs count more than others
    (their attention does so for what is near, as in the paper): one for each listed pair, or for each query and key
    where pairs are not listed. They then choose c, which may not make the unweighted correlation worse either.
    `scores`, of the same shapes, are what softmax is given where that is more than q.k (relative positions).

    Pairs with a vector of no length are left out at all stages, and all pairs of a head whose queries (or keys) are all
    alike, where nothing can be told apart; `dropped` counts both. Correlations are in double precision, vectors in the
    type they came in, half precision in single. Memory is O(query + key + pair) for each head.
    """
    _check_shapes(queries, keys)
    batch, sizes = tuple(queries.shape[:-2]), (queries.shape[-2], keys.shape[-2])
    q, k = in_double(queries), in_double(keys)
    pairs, rows, listed = chosen_pairs(valid_pairs, sizes, max_pairs, seed, q.device)
    query, key = pairs.unbind(-1)
    of_query, of_key = _squared_norms(q, "queries"), _squared_norms(k, "keys")
    mean_query, mean_key = q.mean(-2), k.mean(-2)
    translation = mean_query - mean_key if translate else torch.zeros_like(mean_query)
    length = translation.square().sum(-1, keepdim=True)
    of_moved = (of_key + 2 * _along(k, translation) + length).clamp_min(0.0)
    no_query = of_query <= NOTHING * of_query.mean(-1, keepdim=True)
    no_key = of_key <= NOTHING * of_key.mean(-1, keepdim=True)
    no_key |= of_moved <= NOTHING * (of_key.mean(-1, keepdim=True) + length)
    alike = _alike(of_query, mean_query) | _alike(of_key, mean_key)
    valid = ~(no_query[..., query] | no_key[..., key] | alike[..., None])
    of_query, of_key, of_moved = of_query[..., query], of_key[..., key], of_moved[..., key]

    dots = pair_dots(q, k, pairs)
    before = stage(dots, of_query, of_key, valid)
    dots = dots + _along(q, translation)[..., query]
    translated = stage(dots, of_query, of_moved, valid)

    plain = shares(valid, None)
    counted = plain if weights is None else shares(valid, at_pairs(weights, "weights", listed, rows, batch))
    t = best_squared_scale(of_query, of_moved, dots, counted)
    scaled = from_squares(t[..., None] * of_query + of_moved / t[..., None] - 2 * dots, valid)

    def gain(share: Tensor) -> Tensor:
        distances = (translated.euclidean, scaled)
        now, then = (rank_correlation(distance, translated.dots, share) for distance in distances)
        return now - then

    taken = gain(counted) > BETTER
    if weights is not None:
        taken &= gain(plain) >= 0
    columns = zip(scaled, translated.euclidean, strict=True)
    aligned = translated._replace(euclidean=Column(*(new.where(taken[..., None], old) for new, old in columns)))
    stages = (before, translated, aligned)
    of_scores = None
    if scores is not None:
        target = column(at_pairs(scores, "scores", listed, rows, batch), valid)
        of_scores = correlations([one._replace(dots=target) for one in stages], plain)

    translation, scale = (
        x.to(queries.device, precise_type(queries.dtype, keys.dtype)) for x in (translation, t.sqrt().where(taken, 1))
    )
    placed_queries, placed_keys = align(queries, keys, translation, scale)
    return JointQK(
        queries=placed_queries,
        keys=placed_keys,
        translation=translation,
        scale=scale,
        correlations=correlations(stages, plain),
        weighted=None if weights is None else correlations(stages, counted),
        of_scores=of_scores,
        n_pairs=len(pairs),
        dropped=(~valid).sum(-1),
    )


def align(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    translation: Float[Tensor, "*batch d_head"],
    scale: Float[Tensor, "*batch"],
) -> tuple[Float[Tensor, "*batch query d_head"], Float[Tensor, "*batch key d_head"]]:
    """Queries and keys placed as others were: q times the scale, and k with the translation added over the scale."""
    dtype = precise_type(queries.dtype, keys.dtype)
    by = scale.to(dtype)[..., None, None]
    return queries.to(dtype) * by, (keys.to(dtype) + translation.to(dtype)[..., None, :]) / by


def _check_shapes(queries: Tensor, keys: Tensor) -> None:
    here = f"queries {tuple(queries.shape)}, keys {tuple(keys.shape)}"
    if min(queries.ndim, keys.ndim) < 2 or queries.shape[:-2] + queries.shape[-1:] != keys.shape[:-2] + keys.shape[-1:]:
        raise BadInput(
            f"Queries are (*batch, query, d_head) and keys (*batch, key, d_head), alike but for how many there are; "
            f"here: {here}. Keys that several heads share are repeated for each first (repeat_kv)."
        )
    if not queries.numel() or not keys.numel():
        raise BadInput(f"There is nothing to align: {here}.")


def _squared_norms(vectors: Tensor, name: str) -> Tensor:
    found = torch.einsum("...nd,...nd->...n", vectors, vectors)
    bad = int((~found.isfinite()).sum())
    if bad:
        raise BadInput(f"There is NaN or infinity in {bad} of the {name}: leave these rows out.")
    return found


def _along(vectors: Tensor, direction: Tensor) -> Tensor:
    return (vectors @ direction[..., None]).squeeze(-1)


def _alike(squared_norms: Tensor, mean: Tensor) -> Tensor:
    """Whether all vectors of a kind are one, by their variance: (*batch)."""
    size = squared_norms.mean(-1)
    return size - mean.square().sum(-1) <= NOTHING * size
