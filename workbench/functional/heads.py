"""Scores that say what an attention head does: finds what came after, looks one token back, copies."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_finite


def prefix_matching(
    patterns: Float[Tensor, "*heads query key"], period: int, *, start: int = 1, copies: Literal["last", "all"] = "last"
) -> Float[Tensor, "*heads"]:
    """How much a head looks at what came after the current token the last time.

    The patterns belong to a block of `period` different tokens that is repeated; `start` positions (the start mark)
    come before it. The score is the mean of pattern[t, t - period + 1] over the queries t from the second copy on;
    `copies="all"` adds the same place in all earlier copies, so that a head that spreads over them loses nothing.
    1 for an ideal induction head; uniform causal attention gives the mean of 1 / (t + 1).
    Olsson et al. (2022), In-context Learning and Induction Heads.
    """
    length = _length(patterns)
    if period < 2 or start < 0 or length < start + period + 1:
        raise BadInput(
            f"Prefix matching needs a period of at least 2 and a second copy in view: period {period}, "
            f"{start} positions before the first copy and {length} positions do not allow it."
        )
    farthest = length - start if copies == "all" else period + 1
    found = patterns.new_zeros(patterns.shape[:-2])
    for shift in range(period, farthest, period):  # the query is `shift` after its earlier occurrence
        diagonal = patterns.diagonal(1 - shift, -2, -1)  # pattern[t, t - shift + 1] for t from shift - 1 on
        found = found + diagonal[..., start + 1 :].sum(-1)
    return found / (length - start - period)


def previous_token(patterns: Float[Tensor, "*heads query key"]) -> Float[Tensor, "*heads"]:
    """How much a head looks at the token just before: the mean of pattern[t, t - 1] over the queries t >= 1."""
    if _length(patterns) < 2:
        raise BadInput("There is no previous token in a pattern of one position.")
    return patterns.diagonal(-1, -2, -1).mean(-1)


def copying_score(promoted: Float[Tensor, "*heads token vocab"]) -> Float[Tensor, "*heads"]:
    """How far a head that attends to a token raises that same token: 1 only that one, -1 never.

    promoted[i, j] is what attending to token i adds to the logit of token j (the first tokens of the vocabulary, or
    all). Each row is centred, its negative part dropped, and the share r of its own token is averaged over rows:
    the score is 2 r - 1. Chance is not 0 but about 2 / vocab - 1, so compare with random heads. Rows that raise
    nothing are left out; NaN when there are no others. Olsson et al. (2022).
    """
    _check_promoted(promoted)
    raised = (promoted - promoted.mean(-1, keepdim=True)).clamp(min=0)
    own, total = raised.diagonal(0, -2, -1), raised.sum(-1)
    share = torch.where(total > 0, own / total, torch.nan)
    return 2 * share.nanmean(-1) - 1


def most_copied(promoted: Float[Tensor, "*heads token vocab"]) -> Float[Tensor, "*heads"]:
    """How often a head raises the token that it attends to more than any other: a share of tokens, 0 to 1.

    promoted is that of `copying_score`. Chance is about 1 / vocab. Where a token is as high as the best, it counts.
    """
    _check_promoted(promoted)
    own = promoted.diagonal(0, -2, -1)
    return (own >= promoted.amax(-1)).to(torch.promote_types(promoted.dtype, torch.float32)).mean(-1)


def copying_eigenvalues(promoted: Float[Tensor, "*heads vocab vocab"]) -> Float[Tensor, "*heads"]:
    """How positive the eigenvalues of a head's token-to-logit matrix are: their sum over the sum of their sizes.

    1 when the head raises whatever it attends to, -1 when it lowers it, about 0 for a random head. A product of factors
    left (vocab, d_head) and right (d_head, vocab) has the eigenvalues of right @ left, and zeros: give that small one.
    NaN and infinity are refused. Elhage et al. (2021), A Mathematical Framework for Transformer Circuits.
    """
    if promoted.ndim < 2 or promoted.shape[-2] != promoted.shape[-1]:
        raise BadInput(f"Eigenvalues need a square (vocab, vocab) matrix, not {tuple(promoted.shape)}.")
    need_finite("rows of the matrices", promoted)
    values = torch.linalg.eigvals(promoted)
    return values.sum(-1).real / values.abs().sum(-1)


def in_context_score(
    losses: Float[Tensor, "*batch pos"], early: tuple[int, int], late: tuple[int, int]
) -> Float[Tensor, "*batch"]:
    """How much better what stands late in the context is predicted than what stands early: their difference in loss.

    The mean of losses[late[0]:late[1]] less the mean of losses[early[0]:early[1]]: below 0 where context helps. NaN
    where a loss among them is. Olsson et al. (2022) take one token each, the 500th and the 50th: (499, 500), (49, 50).
    """
    length = losses.shape[-1]
    for name, (first, end) in {"early": early, "late": late}.items():
        if not 0 <= first < end <= length:
            raise BadInput(f"{name} is a range of positions within the {length} there are, not {first} to {end}.")
    return losses[..., slice(*late)].mean(-1) - losses[..., slice(*early)].mean(-1)


def repeated_tokens(
    period: int, repeats: int, *, batch: int, vocab: Tensor, seed: int, bos: int | None = None
) -> Tensor:
    """Give token ids (batch, pos): a random block of `period` different tokens out of `vocab`, `repeats` times.

    Drawn without replacement, so that each token has one continuation; `bos` is put first when it is given.
    """
    if period < 2 or repeats < 2 or batch < 1:
        raise BadInput(
            f"A repeated block needs period >= 2, repeats >= 2 and batch >= 1: {period}, {repeats}, {batch}."
        )
    if period > len(vocab):
        raise BadInput(f"A block of {period} different tokens cannot be drawn from {len(vocab)}.")
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(batch, len(vocab), generator=generator).argsort(-1)[:, :period]
    ids = vocab.to(order.device)[order].repeat(1, repeats)
    return ids if bos is None else torch.cat([ids.new_full((batch, 1), bos), ids], dim=1)


def _check_promoted(promoted: Tensor) -> None:
    if promoted.ndim < 2 or promoted.shape[-2] > promoted.shape[-1]:
        raise BadInput(f"Copying needs a (token, vocab) matrix with token <= vocab, not {tuple(promoted.shape)}.")


def _length(patterns: Tensor) -> int:
    if patterns.ndim < 2 or patterns.shape[-1] != patterns.shape[-2]:
        raise BadInput(f"A pattern is square, (query, key); this one has shape {tuple(patterns.shape)}.")
    return patterns.shape[-1]
