"""What a head looks at in ordinary text when a token comes again: that token, or what followed it.

Patterns are (query, key) with rows that sum to one. Only queries whose token has occurred before count; where there
is none the score is NaN and the count 0. On text made for the purpose (`prefix_matching`) chance is known; on natural
text, frequent tokens recur, so compare with `even_attention` passed through the same function.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import BadInput


@dataclass(frozen=True, eq=False, kw_only=True)
class MassScore:
    """Mean attention on some places, a head, and over how many queries."""

    values: Float[Tensor, "*batch head"]
    """0 to 1. NaN where no query has such a place."""
    counts: Int[Tensor, "*batch"]
    """Queries in the mean: those that have at least one such place."""


def induction_mass(
    pattern: Float[Tensor, "*batch head query key"],
    tokens: Int[Tensor, "*batch query"],
    *,
    mask: Bool[Tensor, "*batch query"] | None = None,
) -> MassScore:
    """How much a head looks at what came after earlier occurrences of the current token.

    The sum over all earlier occurrences, the mean over the queries that have one. What follows must itself come before
    the query: in `a a` the second a has nothing to find. `mask` is false at padding. Olsson et al. (2022), In-context
    Learning and Induction Heads, measure it on random repeated tokens.
    """
    same = _earlier_same(pattern, tokens, mask)
    after = torch.nn.functional.pad(same[..., :-1], (1, 0), value=False)
    if mask is not None:
        after &= mask[..., None, :]
    return _mass(pattern, after & _before(pattern))


def same_token_mass(
    pattern: Float[Tensor, "*batch head query key"],
    tokens: Int[Tensor, "*batch query"],
    *,
    mask: Bool[Tensor, "*batch query"] | None = None,
) -> MassScore:
    """How much a head looks at earlier occurrences of the current token: duplicate-token heads.

    The sum over all of them, the mean over the queries that have one. `mask` is false at padding.
    Wang et al. (2022), Interpretability in the Wild.
    """
    return _mass(pattern, _earlier_same(pattern, tokens, mask))


def even_attention(length: int, *, causal: bool) -> Float[Tensor, "query key"]:
    """The pattern of a head that looks everywhere alike: what chance gives any score of patterns."""
    seen = torch.ones(length, length)
    seen = seen.tril() if causal else seen
    return seen / seen.sum(-1, keepdim=True)


def _earlier_same(pattern: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Whether the key holds the query's token and comes before it: (*batch, query, key)."""
    if pattern.shape[-1] != pattern.shape[-2] or pattern.shape[-1] != tokens.shape[-1]:
        raise BadInput(f"{tokens.shape[-1]} tokens do not go with attention of shape {tuple(pattern.shape)}.")
    tokens = tokens.to(pattern.device)
    same = (tokens[..., :, None] == tokens[..., None, :]) & _before(pattern)
    if mask is not None:
        same &= mask[..., :, None] & mask[..., None, :]
    return same


def _before(pattern: Tensor) -> Tensor:
    size = pattern.shape[-1]
    return torch.ones(size, size, dtype=torch.bool, device=pattern.device).tril(-1)


def _mass(pattern: Tensor, places: Tensor) -> MassScore:
    found = (pattern * places[..., None, :, :]).sum((-2, -1), dtype=torch.promote_types(pattern.dtype, torch.float32))
    counts = places.any(-1).sum(-1)
    return MassScore(values=found / counts[..., None], counts=counts)  # 0 / 0 is NaN: no query to average
