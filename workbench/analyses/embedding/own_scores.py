"""Whether a head's scores are more than dot products, and how distance goes with them if so."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.embedding.gathered import Gathered
from workbench.capture import capture
from workbench.functional import JointQK

N_INPUTS = 12
"""Inputs on which scores are read."""
MOST_PAIRS = 20_000


def score_correlations(
    found: Gathered,
    layer: int,
    head: int,
    queries: Float[Tensor, "query d_head"],
    keys: Float[Tensor, "key d_head"],
    joined: JointQK,
    *,
    seed: int,
) -> tuple[Float[Tensor, "stage distance statistic"], int] | None:
    """Correlations of distance with the model's own scores, as in `JointHead`, and over how many pairs.

    None where scores are scaled q.k.
    """
    stack, short = found.model.attention(found.attention)
    site = f"{stack.prefix}.{layer}.{short}.attn_scores"
    if site not in found.model.sites:
        return None
    some = found.chosen[:N_INPUTS]
    kept = capture(found.model, [found.inputs[number] for number in some], [site])
    at, at_key, pairs, scores = 0, 0, [], []
    for place in range(len(some)):
        own = kept.of_input(site, place)[head]  # (query, key)
        shown = (own > torch.finfo(own.dtype).min / 2).nonzero()
        pairs.append(shown + torch.tensor([at, at_key]))
        scores.append(own[shown[:, 0], shown[:, 1]].double())
        at, at_key = at + own.shape[0], at_key + own.shape[1]
    pair, score = torch.cat(pairs), torch.cat(scores)
    if len(pair) > MOST_PAIRS:
        drawn = torch.randperm(len(pair), generator=torch.Generator().manual_seed(seed))[:MOST_PAIRS]
        pair, score = pair[drawn], score[drawn]
    q, k = queries[pair[:, 0]].double().cpu(), keys[pair[:, 1]].double().cpu()
    if _is_multiple(score, (q * k).sum(-1)):
        return None
    move, scale = joined.translation.double().cpu(), joined.scale.double().cpu()
    nowhere, one = torch.zeros_like(move), torch.ones_like(scale)
    stages = [functional.align(q, k, *by) for by in ((nowhere, one), (move, one), (move, scale))]
    return torch.stack([torch.stack([_both(distance, score) for distance in _distances(*x)]) for x in stages]), len(
        pair
    )


def _distances(q: Float[Tensor, "pair d_head"], k: Float[Tensor, "pair d_head"]) -> list[Float[Tensor, "pair"]]:
    """Cosine and Euclidean."""
    return [1 - torch.nn.functional.cosine_similarity(q, k, dim=-1), (q - k).norm(dim=-1)]


def _both(distance: Float[Tensor, "pair"], score: Float[Tensor, "pair"]) -> Float[Tensor, "statistic"]:
    return torch.stack([functional.spearman(distance, score), functional.pearson(distance, score)]).float()


def _is_multiple(score: Float[Tensor, "pair"], dot: Float[Tensor, "pair"]) -> bool:
    """Whether the scores are the dot products times one number, up to rounding."""
    norm = dot.square().sum()
    rest = score - dot * ((score * dot).sum() / norm if norm else 0.0)
    return float(rest.abs().max()) <= 1e-3 * float(score.abs().max()) + 1e-6
