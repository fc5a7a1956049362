"""Which tokens a layer's attention gathers at: PageRank, where looking at a token is a link to it.

A walker stands on a token and goes on to one that this token looks at, as often as the attention says; the rank of a
token is the share of the time spent on it. With damping d it starts anew anywhere with probability 1 - d at each step:
s = d A^T s + (1 - d) / n. Without damping (d = 1) a causal graph only leads back: all rank ends on the first token,
whatever the attention is, and graphs that fall apart keep what each part began with. That is why there is damping
unless it is asked away. Ranks say nothing about one answer, and nothing about values.
Reference: Wang, Dedhia & Jha (2024), "Zero-TPrune: Zero-Shot Token Pruning through Leveraging of the Attention Graph in
Pre-Trained Transformers", which takes d = 1 on bidirectional attention.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.rollout import check_rows, head_mean

DAMPING = 0.85
"""The value of Brin & Page (1998)."""
DOUBLINGS = 64
"""Without damping: 2^64 steps, more than rounding can tell from infinitely many."""


def attention_pagerank(
    patterns: Float[Tensor, "*batch layer head query key"],
    damping: float = DAMPING,
    heads: Literal["mean", "rms", "graph"] = "mean",
    *,
    normalize: bool = False,
) -> Float[Tensor, "*batch layer key"]:
    """Rank of each token in the attention of each layer; ranks of a layer sum to one.

    `heads` says how heads become one: the mean of their ranks; the root of their mean square (then summing to one
    again), which keeps a token that one head singles out; or the ranks in the graph of their mean attention.
    `normalize` divides rows by their sum first; see `pagerank`.
    """
    if heads == "graph":
        return pagerank(head_mean(patterns), damping, normalize=normalize)
    ranks = pagerank(patterns, damping, normalize=normalize)
    if heads == "mean":
        return ranks.mean(-2)
    ranks = ranks.square().mean(-2).sqrt()
    return ranks / ranks.sum(-1, keepdim=True)


def pagerank(
    maps: Float[Tensor, "*batch query key"], damping: float = DAMPING, *, normalize: bool = False
) -> Float[Tensor, "*batch key"]:
    """Where a walker that follows attention spends its time; 1 / n each where nothing is looked at more.

    With damping it is exact: one linear system for each map. Without, it is the mean over infinitely many steps from
    an even start, the limit of A^T s wherever that has one. Rows must sum to one; `normalize` divides them by their
    sum, and a row of zeros then links to every token alike.
    """
    n = maps.shape[-1]
    if maps.shape[-2] != n:
        raise BadInput(f"A walk needs the same tokens as queries and keys, not {maps.shape[-2]} and {n}.")
    if not 0 <= damping <= 1:
        raise BadInput(f"Damping is between 0 and 1, not {damping}.")
    precision = maps.dtype
    maps = maps.to(torch.float32 if precision.itemsize < 4 else precision)
    if normalize:
        if not maps.amin() >= 0:  # NaN is not
            raise BadInput("Attention to be normalised must be numbers that are not negative; there are others in it.")
        sums = maps.sum(-1, keepdim=True)
        maps = torch.where(sums > 0, maps / sums.where(sums > 0, 1.0), 1 / n)
    check_rows(maps, precision=precision)
    ranks = _settled(maps) if damping == 1 else _damped(maps, damping)
    return ranks / ranks.sum(-1, keepdim=True)


def _damped(maps: Tensor, damping: float) -> Tensor:
    n = maps.shape[-1]
    system = torch.eye(n, dtype=maps.dtype, device=maps.device) - damping * maps.mT
    return torch.linalg.solve(system, maps.new_full((*maps.shape[:-1], 1), (1 - damping) / n)).squeeze(-1)


def _settled(maps: Tensor) -> Tensor:
    """Even start, infinitely many steps: powers of a walk that stays where it is every other time never swing."""
    walk = (maps + torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)) / 2
    for _ in range(DOUBLINGS):
        longer = walk @ walk
        longer = longer / longer.sum(-1, keepdim=True)
        if torch.equal(longer, walk):
            break
        walk = longer
    return walk.mean(-2)
