"""Comparing output distributions over a vocabulary: divergence and rank."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def kl_divergence(
    before: Float[Tensor, "*batch vocab"], after: Float[Tensor, "*batch vocab"]
) -> Float[Tensor, "*batch"]:
    """How far the answer moved: KL(before || after) in nats, from logits. Never negative but for rounding.

    Equal logits give exactly 0.
    """
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return (p.exp() * (p - q)).where(p > -torch.inf, 0.0).sum(-1)  # a token of probability 0 adds nothing


def token_ranks(logits: Float[Tensor, "*batch vocab"], tokens: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """How many tokens have a larger logit than this one: 0 is the top answer. Ties share the better rank."""
    chosen = logits.gather(-1, tokens[..., None])
    return (logits > chosen).sum(-1)
