"""How much each source writes into each query's stream: lengths of vectors that are never made.

What source j brings query i through one attention is z_ij, the sum over heads h of alpha^h_ij f^h_j = alpha^h_ij
v^h_j W_O^h. Its squared length is a quadratic form of the query's weights with the inner products of the f^h_j,
so all lengths cost query * key * head^2, and the (query, key, d_model) tensor of the z_ij never exists.
A norm that is frozen at its true scale is linear: it goes into W_O, and its divisor, one a query, comes last.

Value biases are part of the values, as in the paper; the bias of W_O belongs to no source and is left out.
Reference: Kobayashi et al. (2020), "Attention is Not Only a Weight: Analyzing Transformers with Vector Norms".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.functional.frozen_norms import frozen_norm
from workbench.functional.precision import precise
from workbench.functional.query_key import repeat_kv

CHUNK_BYTES = 2**24
"""Most memory that the f^h_j of a chunk of keys take."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FrozenNorm:
    """A norm held at the scale it had in the forward pass: x -> (x - mean if centred) / scale * weight."""

    scale: Float[Tensor, "*batch query 1"]
    """What it divided each query's stream by: `norm_scale` of all that it read."""
    centred: bool
    """True for LayerNorm, False for RMSNorm."""
    weight: Float[Tensor, "d_model"] | None = None


def linear_part(x: Float[Tensor, "*any d_model"], norms: Sequence[FrozenNorm]) -> Float[Tensor, "*any d_model"]:
    """Vectors through the linear part of frozen norms in turn, without their divisors."""
    for norm in norms:
        x = frozen_norm(
            x,
            torch.ones_like(x[..., :1]),
            centred=norm.centred,
            weight=None if norm.weight is None else norm.weight.to(x),
        )
    return x


def contribution_norms(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    own: Float[Tensor, "*batch query d_model"] | None = None,
    norms: Sequence[FrozenNorm] = (),
) -> Float[Tensor, "*batch query key"]:
    """Length of z_ij, what each source brings each query; with `own`, what query i has itself is added to z_ii.

    `own` is the stream that attention adds to (self-attention only: query i must be key i); `norms` are what the sum
    passes next, in turn, at their true scales. Lengths are in units of the stream (after the norms). Half precision is
    computed in float32, the inner products in float64 where the device has it: on MPS a length much smaller than
    the vectors that cancel in it is good to about 3e-4 of theirs, elsewhere to 1e-8.
    """
    pattern, values, w_o = precise(pattern), precise(values), precise(w_o)
    weights = pattern.movedim(-3, -1).to(_finest(pattern))  # (*batch, query, key, head)
    w_o = linear_part(w_o, norms)
    squares = torch.empty_like(weights[..., 0])  # (*batch, query, key)
    inner = []
    residual = None if own is None else linear_part(own.to(w_o), norms)
    for start, vectors in source_vectors(values, w_o):  # (*batch, some keys, head, d_model)
        vectors = vectors.to(weights)
        gram = vectors @ vectors.mT  # (*batch, some keys, head, head)
        here = weights[..., start : start + vectors.shape[-3], :]
        squares[..., start : start + vectors.shape[-3]] = torch.einsum("...qkh,...khg,...qkg->...qk", here, gram, here)
        if residual is not None:
            mine = residual[..., start : start + vectors.shape[-3], :].to(weights)
            inner.append((vectors @ mine[..., None])[..., 0])  # (*batch, some keys, head)
    if residual is not None:
        crossed = (weights.diagonal(0, -3, -2).mT * torch.cat(inner, -2)).sum(-1)  # (*batch, query)
        squares.diagonal(0, -2, -1).add_(2 * crossed + residual.to(weights).square().sum(-1))
    lengths = squares.clamp(min=0).sqrt()
    for norm in norms:
        lengths = lengths / norm.scale.to(lengths)
    return lengths.to(pattern)


def source_vectors(
    values: Float[Tensor, "*batch key kv_head d_head"], w_o: Float[Tensor, "head d_head d_model"]
) -> Iterator[tuple[int, Float[Tensor, "*batch some head d_model"]]]:
    """f^h_j, what a source adds to the stream if head h looks only at it: keys in chunks, each with its first key."""
    values = repeat_kv(values, w_o.shape[0], dim=-2)
    one_key = values[..., :1, 0, :1].numel() * w_o.shape[0] * w_o.shape[-1] * 8
    chunk = max(1, CHUNK_BYTES // max(one_key, 1))
    for start in range(0, values.shape[-3], chunk):
        yield start, torch.einsum("...khd,hdm->...khm", values[..., start : start + chunk, :, :], w_o)


def mixed_vectors(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
) -> Float[Tensor, "*batch query d_model"]:
    """What all sources together bring each query: the output of attention without the bias of W_O."""
    pattern, values, w_o = precise(pattern), precise(values), precise(w_o)
    values = repeat_kv(values, w_o.shape[0], dim=-2).movedim(-2, -3)  # (*batch, head, key, d_head)
    return (pattern @ values).movedim(-3, -2).flatten(-2) @ w_o.flatten(0, 1)


def _finest(x: Tensor) -> torch.dtype:
    return x.dtype if x.device.type == "mps" else torch.float64
