"""N-grams in context: what followed the last few tokens earlier in the same text, and heads that look there.

An n-gram head looks at the tokens before which the same n - 1 tokens stand as now: n = 2 is an ideal induction head.
Akyürek et al. (2024), In-Context Language Learning: Architectures and Algorithms.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole
from workbench.functional.precision import precise


def ngram_matches(tokens: Int[Tensor, "*batch pos"], n: int) -> Bool[Tensor, "*batch query key"]:
    """Where a key follows the same n - 1 tokens that end at the query; only keys up to the query.

    n = 1 asks for nothing: all keys that can be seen.
    """
    need_whole("n", n)
    if n < 1 or tokens.ndim < 1 or not tokens.shape[-1]:
        raise BadInput(f"An n-gram has 1 token or more, of a text of one or more: n {n}, tokens {tuple(tokens.shape)}.")
    length = tokens.shape[-1]
    matches = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril().expand(*tokens.shape, length)
    for back in range(n - 1):  # the token `back` before the query, and the one before the key by as many and one
        same = tokens[..., :, None] == tokens[..., None, :]
        shifted = torch.zeros_like(same)
        shifted[..., back:, back + 1 :] = same[..., : length - back, : length - back - 1]
        matches = matches & shifted
    return matches


def ngram_pattern(tokens: Int[Tensor, "*batch pos"], n: int) -> Float[Tensor, "*batch query key"]:
    """The attention of an ideal n-gram head: even over its matches. Rows sum to 1, or to 0 where nothing matches."""
    matches = ngram_matches(tokens, n).float()
    return matches / matches.sum(-1, keepdim=True).clamp(min=1)


def ngram_attention(
    patterns: Float[Tensor, "*heads query key"], tokens: Int[Tensor, "pos"], n: int
) -> Float[Tensor, "*heads"]:
    """How much a head looks at tokens that follow the same n - 1 tokens as now: the mean over queries with a match.

    1 for an n-gram head, also one that looks at one of several matches alone. NaN where no query has a match;
    `ngram_matches(tokens, n).any(-1).sum()` says how many have. What uniform attention gets is its chance.
    """
    if patterns.ndim < 2 or patterns.shape[-2:] != (len(tokens), len(tokens)):
        raise BadInput(f"Patterns of {len(tokens)} tokens are (*, query, key), not {tuple(patterns.shape)}.")
    matches = ngram_matches(tokens, n).to(patterns.device)
    return (precise(patterns) * matches).sum(-1)[..., matches.any(-1)].mean(-1)


def ngram_predictions(
    tokens: Int[Tensor, "*batch pos"], n: int, *, values: int, backoff: bool = True, at: int | None = None
) -> Float[Tensor, "*batch query value"]:
    """The next token's distribution at each position (or `at` one), by what followed the last n - 1 tokens so far.

    Counts, without smoothing; tokens are numbers below `values`. Where those n - 1 tokens have not stood there before,
    it is that of n - 1 (`backoff`), at last of n = 1, the share of each token so far; without backoff it is all 0.
    """
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < values:
        raise BadInput(f"Tokens are numbers from 0 to below values = {values}; these reach {int(tokens.max())}.")
    asked = slice(None) if at is None else [at]
    matches = ngram_matches(tokens, n)[..., asked, :].float()
    counts = matches.sum(-1, keepdim=True)
    found = (matches / counts.clamp(min=1)) @ torch.nn.functional.one_hot(tokens.long(), values).float()
    if not backoff or n == 1:
        return found
    return torch.where(counts > 0, found, ngram_predictions(tokens, n - 1, values=values, at=at))


def total_variation(p: Float[Tensor, "*batch value"], q: Float[Tensor, "*batch value"]) -> Float[Tensor, "*batch"]:
    """How far two distributions are apart: half the sum of |p - q|, the most that any event's probability differs.

    0 for equal ones, 1 for distributions that have no value in common.
    """
    return (precise(p) - precise(q)).abs().sum(-1) / 2
