"""How a head spreads its attention, as one number a head: entropy, distance, mass on first, previous and own token.

Patterns are (query, key) with rows that sum to one. A query that is left out (padding, or the first one on request)
is left out of numerator and denominator alike; a score without any query is NaN, and the counts say so.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SCORES = ("entropy", "distance", "first", "previous", "self")
"""Names of the scores, in the order of `AttentionScores.values`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionScores:
    """Scores of heads, each a mean over queries, and over how many queries each was taken."""

    values: Float[Tensor, "*batch score"]
    """entropy (nats), distance (positions), mass on the first, the previous and the own token (0 to 1)."""
    counts: Int[Tensor, "*batch score"]
    """Queries in each mean: the denominator. Where it is 0 the value is NaN."""
    names: tuple[str, ...] = SCORES


def attention_entropy(pattern: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query"]:
    """Entropy of each row in nats: 0 for a row on one token, log(n) for a row even over n tokens."""
    return torch.special.entr(pattern).sum(-1)


def attention_distance(pattern: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query"]:
    """Mean distance |query - key| in positions under each row. Only meaningful when queries and keys are the same."""
    queries, keys = (torch.arange(n, device=pattern.device) for n in pattern.shape[-2:])
    return (pattern * (queries[:, None] - keys).abs().to(pattern.dtype)).sum(-1)


def previous_token_mass(pattern: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query"]:
    """Attention of each query on the position just before it; NaN for the first query, which has none."""
    return torch.nn.functional.pad(pattern.diagonal(-1, dim1=-2, dim2=-1), (1, 0), value=torch.nan)


def self_mass(pattern: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query"]:
    """Attention of each query on itself."""
    return pattern.diagonal(dim1=-2, dim2=-1)


def attention_scores(
    pattern: Float[Tensor, "*batch head query key"],
    *,
    query_mask: Bool[Tensor, "*batch query"] | None = None,
    key_mask: Bool[Tensor, "*batch key"] | None = None,
    skip_first: bool = False,
    same_sequence: bool = True,
) -> AttentionScores:
    """Five numbers that say what a head looks at, each a mean over the queries that count.

    A mask is true at real positions: padded queries do not count, and the first token is the first real key (left
    padding included). `skip_first` leaves the first real query out: in a causal model it can only look at itself.
    Cross-attention (`same_sequence=False`) has no distance, previous or own token: NaN with count 0.
    """
    *_, n_queries, n_keys = pattern.shape
    batch = pattern.shape[:-3]
    if query_mask is None:
        query_mask = pattern.new_ones((*batch, n_queries), dtype=torch.bool)
    if key_mask is None:
        key_mask = query_mask if same_sequence else pattern.new_ones((*batch, n_keys), dtype=torch.bool)
    has_previous = query_mask & torch.nn.functional.pad(query_mask[..., :-1], (1, 0), value=False)
    counted = query_mask & (query_mask.cumsum(-1) > 1) if skip_first else query_mask

    first_key = key_mask.to(torch.uint8).argmax(-1)[..., None, None, None]  # (*batch, 1, 1, 1)
    on_first = pattern.gather(-1, first_key.expand(*pattern.shape[:-1], 1)).squeeze(-1)  # (*batch, head, query)
    rows = [(attention_entropy(pattern), counted)]
    nowhere = pattern.new_zeros(pattern.shape[:-1])
    never = torch.zeros_like(counted)
    if same_sequence:
        rows += [
            (attention_distance(pattern), counted),
            (on_first, counted),
            (previous_token_mass(pattern).nan_to_num(0.0), counted & has_previous),
            (self_mass(pattern), counted),
        ]
    else:
        rows += [(nowhere, never), (on_first, counted), (nowhere, never), (nowhere, never)]
    means = [_mean_over_queries(values, mask) for values, mask in rows]
    return AttentionScores(
        values=torch.stack([value for value, _ in means], -1), counts=torch.stack([count for _, count in means], -1)
    )


def _mean_over_queries(
    values: Float[Tensor, "*batch head query"], mask: Bool[Tensor, "*batch query"]
) -> tuple[Float[Tensor, "*batch head"], Int[Tensor, "*batch head"]]:
    mask = mask[..., None, :].expand(values.shape)
    count = mask.sum(-1)
    return values.where(mask, 0.0).sum(-1) / count, count  # 0 / 0 is NaN: nothing to average
