"""Attention sinks: how much attention a key draws, what uniform attention would give it, and how unlike it its norm is.

Row 0 of a causal pattern is 1 at key 0 whatever the head does, so a query never counts for its own key.
"""

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_mask, need_real
from workbench.functional.precision import precise

SINK_SHARE = 0.3
"""The attention from which a head counts as a sink head; Gu et al. (2025), "When Attention Sink Emerges"."""


def sink_mass(
    patterns: Float[Tensor, "*heads query key"],
    *,
    queries: Bool[Tensor, "query"] | None = None,
    both_ways: bool = False,
) -> Float[Tensor, "*heads key"]:
    """How much attention each key draws on average: the mean of its column over the queries after it.

    Entry k is Gu's alpha_k = mean of pattern[i, k] over i > k, and entry 0 is Guo's sink, the mean over i >= 1; with
    `queries`, over those of them alone (Guo: those that are no triggers). With `both_ways`, where a query also sees
    what comes later, the mean is over all queries but k itself. NaN where no query counts: `sink_queries` says how
    many do. Patterns of cross-attention have no query that is the key: take their mean over queries instead.
    Gu et al. (2025), "When Attention Sink Emerges in Language Models"; Guo et al. (2024), "Active-Dormant Attention
    Heads".
    """
    counted = _counted(_length(patterns), queries, both_ways, patterns.device)
    kept = precise(patterns).masked_fill(~counted, 0.0)
    return kept.sum(-2) / counted.sum(0)


def sink_queries(
    length: int, *, queries: Bool[Tensor, "query"] | None = None, both_ways: bool = False
) -> Int[Tensor, "key"]:
    """Over how many queries `sink_mass` takes the mean of each key."""
    return _counted(length, queries, both_ways, None if queries is None else queries.device).sum(0)


def uniform_sink_mass(length: int, *, both_ways: bool = False) -> Float[Tensor, "key"]:
    """What `sink_mass` gives for a head that looks at all it sees alike: the mean of 1 / (i + 1) over i > k.

    With `both_ways`, 1 / length. NaN for the last key of causal attention, and in float64.
    """
    if length < 1:
        raise BadInput(f"A pattern has at least one position, not {length}.")
    if both_ways:
        even = torch.full((length,), 1 / length, dtype=torch.float64)
        return even if length > 1 else even * torch.nan
    shares = 1 / torch.arange(1, length + 1, dtype=torch.float64)
    after = shares.sum() - shares.cumsum(0)
    after[-1] = 0  # what rounding leaves
    return after / torch.arange(length - 1, -1, -1)


def sink_share(mass: Float[Tensor, "*rest layer head"], threshold: float = SINK_SHARE) -> Float[Tensor, "*rest"]:
    """Which share of the heads are sink heads: those that give a key more than `threshold` of their attention.

    A head whose mass is NaN is none of them, and counts among all. Gu et al. (2025).
    """
    need_axes("Masses of all heads", mass, "layer head")
    return (mass > threshold).to(precise(mass).dtype).mean((-2, -1))


def norm_ratio(vectors: Float[Tensor, "*rest pos d"], *, against: str = "mean") -> Float[Tensor, "*rest pos"]:
    """How long the vector of each position is beside the others': its norm over the mean (or median) of their norms.

    Of a head's values, far below 1 is a drained value; of states of the stream, far above 1 is a residual peak. The
    median of an even number is the mean of the two in the middle. NaN with no other position, or where the others'
    norm is 0. Guo et al. (2024).
    """
    if against not in ("mean", "median"):
        raise BadInput(f"A norm is compared with the 'mean' or the 'median' of the others, not {against!r}.")
    need_axes("Vectors", vectors, "pos d")
    norms = precise(vectors).norm(dim=-1)
    length = norms.shape[-1]
    if against == "mean":
        others = (norms.sum(-1, keepdim=True) - norms) / (length - 1) if length > 1 else norms * torch.nan
    else:
        others = _median_of_others(norms)
    return torch.where(others > 0, norms / others, torch.nan)


def softmax_with_bias(
    scores: Float[Tensor, "*heads query key"], bias: Float[Tensor, "*heads query"]
) -> tuple[Float[Tensor, "*heads query key"], Float[Tensor, "*heads query"]]:
    """Attention with one more key that is no token: what is left for the tokens, and what the extra key takes.

    `bias` is each query's score q . k' / sqrt(d) with the extra key; its value v' times the second tensor is what it
    adds to z. A bias of 0 adds 1 to each denominator ("softmax off by one"), of minus infinity nothing. With a learned
    k' and v' for each head a model needs no massive activations: Sun et al. (2024), "Massive Activations in Large
    Language Models".
    """
    need_axes("Scores", scores, "query key")
    if bias.shape != scores.shape[:-1]:
        raise BadInput(f"There is a bias for each query: {tuple(scores.shape[:-1])}, not {tuple(bias.shape)}.")
    together = torch.cat([precise(scores), precise(bias)[..., None]], -1).softmax(-1)
    return together[..., :-1], together[..., -1]


def _length(patterns: Tensor) -> int:
    need_real("Patterns", patterns)
    if patterns.ndim < 2 or patterns.shape[-1] != patterns.shape[-2]:
        raise BadInput(f"A pattern is square, (query, key); this one has shape {tuple(patterns.shape)}.")
    return patterns.shape[-1]


def _counted(
    length: int, queries: Tensor | None, both_ways: bool, device: torch.device | None
) -> Bool[Tensor, "query key"]:
    """Which queries count for which key."""
    every = torch.ones(length, length, dtype=torch.bool, device=device)
    counted = ~torch.eye(length, dtype=torch.bool, device=device) if both_ways else every.tril(-1)
    if queries is None:
        return counted
    need_mask(queries)
    if queries.shape != (length,):
        raise BadInput(f"A mask of queries has {length} entries here, one for each, not {tuple(queries.shape)}.")
    return counted & queries.to(device)[:, None]


def _median_of_others(norms: Real[Tensor, "*rest pos"]) -> Float[Tensor, "*rest pos"]:
    """For each entry the median of all the others."""
    length = norms.shape[-1]
    if length < 2:
        return norms * torch.nan
    ordered, order = norms.sort(-1)
    place = order.argsort(-1)  # of each entry among the ordered
    low, high = (length - 2) // 2, (length - 1) // 2  # of the others' two in the middle
    middle = [ordered.gather(-1, half + (place <= half).long()) for half in (low, high)]
    return (middle[0] + middle[1]) / 2
