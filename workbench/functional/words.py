"""From pieces of words to words: what was measured for each position, merged over the positions of a word."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput


def merge_positions(
    values: Float[Tensor, "..."], groups: Sequence[int], how: Literal["sum", "mean", "max"] = "sum", dim: int = -1
) -> Float[Tensor, "..."]:
    """What a whole word has: the values of its positions summed, averaged, or the largest of them.

    `groups` says for each position along `dim` which word it belongs to, 0 to n_words - 1, none without a position.
    Sum what is shared out over positions (attention received, contributions); average over positions that each hold
    a whole (the rows of a map): a map whose rows sum to one keeps that under "sum" over keys and "mean" over queries.
    """
    length = values.shape[dim]
    if len(groups) != length:
        raise BadInput(f"{length} positions need {length} word numbers, not {len(groups)}.")
    n_words = max(groups, default=-1) + 1
    if set(groups) != set(range(n_words)):
        raise BadInput(f"Words are numbered 0 to {n_words - 1} without a gap; got {sorted(set(groups))}.")
    index = torch.tensor(list(groups), dtype=torch.long, device=values.device)
    moved = values.movedim(dim, -1)
    moved = moved.float() if moved.dtype.itemsize < 4 else moved
    if how == "max":
        merged = moved.new_full((*moved.shape[:-1], n_words), -torch.inf)
        merged = merged.scatter_reduce(-1, index.expand(moved.shape), moved, "amax")
    else:
        merged = moved.new_zeros((*moved.shape[:-1], n_words)).index_add(-1, index, moved)
        if how == "mean":
            merged = merged / index.bincount(minlength=n_words)
    return merged.movedim(-1, dim)
