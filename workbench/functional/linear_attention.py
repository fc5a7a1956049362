"""Linear self-attention, which has no softmax, and its weights that do one step of gradient descent."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearAttentionWeights:
    """One head of linear self-attention by what it is made of: e_j + value sum_i e_i (e_i' key_query e_j)."""

    key_query: Float[Tensor, "width width"]
    """W_K' W_Q."""
    value: Float[Tensor, "width width"]
    """P W_V: what is written, of what is read."""


def descent_attention(
    d: int, n: int, *, step_size: float, dtype: torch.dtype = torch.float32
) -> LinearAttentionWeights:
    """The weights with which one layer of linear self-attention is one step of gradient descent on n examples.

    Tokens are (x, y) and for the query (x, 0), of width d + 1; `in_context_prediction` reads the answer off. From
    weights of zero on (1 / 2n) sum (w . x - y)^2: key_query is the identity on x, value -(step_size / n) on y. K layers
    of it are K steps. Von Oswald et al. (2023), Transformers Learn In-Context by Gradient Descent, proposition 1.
    """
    if d < 1 or n < 1 or not math.isfinite(step_size):
        raise BadInput(f"The construction needs d and n of 1 or more and a finite step size: {d}, {n}, {step_size}.")
    key_query, value = torch.eye(d + 1, dtype=dtype), torch.zeros(d + 1, d + 1, dtype=dtype)
    key_query[d, d] = 0
    value[d, d] = -step_size / n
    return LinearAttentionWeights(key_query=key_query, value=value)


def linear_self_attention(
    tokens: Float[Tensor, "*batch pos width"], weights: LinearAttentionWeights, *, keys: int | None = None
) -> Float[Tensor, "*batch pos width"]:
    """One layer of linear self-attention with its skip connection; every position looks at the first `keys` ones.

    No softmax, no division: scores are inner products. Without `keys` all positions are looked at.
    """
    width = weights.key_query.shape[-1]
    if tokens.ndim < 2 or tokens.shape[-1] != width or keys is not None and not 0 <= keys <= tokens.shape[-2]:
        raise BadInput(
            f"These weights read tokens (*, pos, {width}), of which the first `keys` are looked at: the tokens are"
            f" {tuple(tokens.shape)} and keys is {keys}."
        )
    seen = tokens[..., :keys, :]
    scores = tokens @ weights.key_query.mT @ seen.mT  # (*batch, query, key)
    return tokens + scores @ seen @ weights.value.mT


def in_context_prediction(
    x: Float[Tensor, "*batch n d"],
    y: Float[Tensor, "*batch n"],
    query: Float[Tensor, "*batch d"],
    weights: LinearAttentionWeights,
    *,
    layers: int = 1,
    queries_seen: Literal["never", "always"] = "never",
) -> Float[Tensor, "*batch"]:
    """What linear self-attention says of a query after examples: minus the last entry of its token.

    The same weights in each layer. The query is no key unless `queries_seen` is "always": then from the second layer
    on, where it has a label of its own, K layers are no longer K steps.
    """
    examples = torch.cat([x, y[..., None]], -1)
    asked = torch.cat([query, torch.zeros_like(query[..., :1])], -1)[..., None, :]
    tokens = torch.cat([examples, asked], -2)
    for _ in range(layers):
        tokens = linear_self_attention(tokens, weights, keys=None if queries_seen == "always" else x.shape[-2])
    return -tokens[..., -1, -1]
