"""Attention to some keys turned down before the softmax (Deiseroth et al. 2023, "AtMan")."""

import torch
from jaxtyping import Float
from torch import Tensor


def suppressed_scores(
    scores: Float[Tensor, "*batch query key"], factors: Float[Tensor, "*factors key"]
) -> Float[Tensor, "*batch query key"]:
    """Scores in which each key keeps a factor of its height above the lowest visible score of the row.

    `scores` are scaled and masked, before the softmax; `factors` broadcast over them: 1 leaves a key, 0 puts it level
    with the lowest, more than 1 lifts it. What the mask hides (-inf, or below half the least number of the dtype) stays
    hidden and is not looked at; the published code takes the minimum over hidden keys too, so that there the result
    depends on what comes after a token and on padding. Equal scores stay as they are.
    """
    visible = scores > torch.finfo(scores.dtype).min / 2
    lowest = scores.masked_fill(~visible, torch.inf).amin(-1, keepdim=True)
    moved = lowest + factors.to(scores) * (scores - lowest)
    return torch.where(visible & (factors != 1), moved, scores)


def neighbour_factors(
    embeddings: Float[Tensor, "*batch token d"], factor: float, threshold: float
) -> Float[Tensor, "*batch token token"]:
    """Factors for suppressing each token (rows) together with the tokens that mean nearly the same (columns).

    A token whose embedding's cosine with the suppressed one's is at least `threshold` gets
    (1 - factor)(1 - cosine) + factor, which is `factor` for one that is the same; all others get 1.
    """
    exact = torch.promote_types(embeddings.dtype, torch.float32)
    unit = torch.nn.functional.normalize(embeddings.to(exact), dim=-1)
    cosine = (unit @ unit.mT).clamp(-1, 1)
    near = torch.where(cosine >= threshold, (1 - factor) * (1 - cosine) + factor, 1.0)
    itself = torch.eye(near.shape[-1], dtype=torch.bool, device=near.device)
    return near.masked_fill(itself, factor)
