"""What hidden states would answer: statistics of the distributions they give when read out, in chunks of rows.

Reference: nostalgebraist (2020), "interpreting GPT: the logit lens".
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.functional.distributions import token_ranks


@dataclass(frozen=True, eq=False, kw_only=True)
class LensStatistics:
    """What is kept of the distribution over the vocabulary of each hidden state."""

    top_ids: Int[Tensor, "*rows k"]
    """Token ids, most likely first."""
    top_log_probs: Float[Tensor, "*rows k"]
    """Natural logarithm of their probabilities."""
    entropy: Float[Tensor, "*rows"]
    """Of the whole distribution, in nats."""
    rank: Int[Tensor, "*rows"] | None
    """Zero-based rank of the chosen token: how many tokens are more likely. None when no token was chosen."""
    log_prob: Float[Tensor, "*rows"] | None
    """Natural logarithm of the chosen token's probability."""


def lens_statistics(
    states: Float[Tensor, "*rows d_model"],
    readout: Callable[[Tensor], Tensor],
    *,
    top_k: int = 5,
    tokens: Int[Tensor, "*rows"] | int | None = None,
    chunk_size: int = 64,
) -> LensStatistics:
    """Top answers, entropy and a chosen token's rank and probability for every hidden state.

    `readout` turns [chunk, d_model] into logits [chunk, vocab]; only `chunk_size` rows of logits exist at any time.
    `tokens` is one id for all rows or one id a row. `top_k` is capped at the size of the vocabulary.
    """
    rows = states.shape[:-1]
    flat = states.reshape(-1, states.shape[-1])
    chosen = None
    if tokens is not None:
        chosen = torch.as_tensor(tokens, device=states.device).expand(rows).reshape(-1)
    top_ids, top_log_probs, entropy, rank, log_prob = [], [], [], [], []
    for start in range(0, len(flat), chunk_size):
        log_probs = readout(flat[start : start + chunk_size]).log_softmax(-1)  # (chunk, vocab)
        best, ids = log_probs.topk(min(top_k, log_probs.shape[-1]))
        top_log_probs.append(best)
        top_ids.append(ids)
        finite = log_probs.clamp_min(torch.finfo(log_probs.dtype).min)  # 0 * -inf would be NaN
        entropy.append(-(log_probs.exp() * finite).sum(-1))
        if chosen is not None:
            wanted = chosen[start : start + chunk_size]
            rank.append(token_ranks(log_probs, wanted))
            log_prob.append(log_probs.gather(-1, wanted[:, None]).squeeze(-1))
    return LensStatistics(
        top_ids=torch.cat(top_ids).reshape(*rows, -1),
        top_log_probs=torch.cat(top_log_probs).reshape(*rows, -1),
        entropy=torch.cat(entropy).reshape(rows),
        rank=torch.cat(rank).reshape(rows) if rank else None,
        log_prob=torch.cat(log_prob).reshape(rows) if log_prob else None,
    )
