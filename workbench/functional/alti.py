"""How near each source's contribution comes to what attention writes: ALTI, one map a layer.

A query's output is a sum of vectors T_ij, one from each source (its own stream added to its own). A source counts by
how much of the sum's length is lost without it: c_ij = max(0, |y_i| - |y_i - T_ij|), in the L1 norm, rows divided by
their sums. Contributions that lie along one line get their coefficients; one that points away gets 0.
Maps multiply from layer to layer (`cumulative_product`).
Reference: Ferrando, Gállego & Costa-jussà (2022), "Measuring the Mixing of Contextual Information in the Transformer".
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.functional.contributions import FrozenNorm, linear_part, mixed_vectors, source_vectors
from workbench.functional.mixing import row_normalized
from workbench.functional.precision import precise

BLOCK_BYTES = 2**22
"""Most memory that the vectors of a chunk of sources take, all queries together, unless one source needs more."""


def alti_map(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    own: Float[Tensor, "*batch query d_model"],
    norms: Sequence[FrozenNorm] = (),
) -> Float[Tensor, "*batch query key"]:
    """Share of each source in each query of one self-attention block: rows sum to one, entries are never negative.

    `norms`: the norm that follows in post-norm blocks, none in pre-norm ones. Its divisor is the same for a whole row
    and drops out. `y_i` is the sum of the contributions: biases belong to no source and are left out. A row in which
    every source points away from the sum stays zero. Costs one (query, key, d_model) tensor, a few sources at a time.
    """
    return row_normalized(_kept(pattern, values, linear_part(precise(w_o), norms), linear_part(precise(own), norms))[0])


def cross_alti_map(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    own: Float[Tensor, "*batch query d_model"],
    norms: Sequence[FrozenNorm] = (),
) -> tuple[Float[Tensor, "*batch query key"], Float[Tensor, "*batch query"]]:
    """The same for cross-attention: the share of each source, and of the query itself; together they are one."""
    w_o, own = linear_part(precise(w_o), norms), linear_part(precise(own), norms)
    counts, total = _kept(pattern, values, w_o, own, cross=True)
    mine = (total.abs().sum(-1) - (total - own).abs().sum(-1)).clamp(min=0)
    shares = row_normalized(torch.cat([counts, mine[..., None]], -1))
    return shares[..., :-1], shares[..., -1]


def _kept(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    own: Float[Tensor, "*batch query d_model"],
    *,
    cross: bool = False,
) -> tuple[Float[Tensor, "*batch query key"], Float[Tensor, "*batch query d_model"]]:
    """How much shorter each row's sum is without each source, and the sums."""
    pattern, values = precise(pattern), precise(values)
    total = own + mixed_vectors(pattern, values, w_o)  # (*batch, query, d_model)
    length = total.abs().sum(-1, keepdim=True)
    counts = torch.zeros_like(pattern[..., 0, :, :])
    one_key = total.numel() * total.element_size()
    chunk = max(1, BLOCK_BYTES // max(one_key, 1))
    for first, vectors in source_vectors(values, w_o):
        for start in range(first, first + vectors.shape[-3], chunk):
            some = vectors[..., start - first : start - first + chunk, :, :]  # (*batch, some, head, d_model)
            stop = start + some.shape[-3]
            weights = pattern[..., start:stop].movedim(-1, -3).mT  # (*batch, some, query, head)
            seen = int(weights.ne(0).any(-1).flatten(0, -2).any(0).int().argmax())  # queries before see none of these
            if not cross:
                seen = min(seen, start)
            rest = (weights[..., seen:, :] @ some).sub_(total[..., None, seen:, :])  # (*batch, some, query, d_model)
            if not cross:
                rest.diagonal(start - seen, -3, -2).add_(own[..., start:stop, :].mT)
            lost = length[..., seen:, :] - rest.abs_().sum(-1).mT
            counts[..., seen:, start:stop] = lost.clamp(min=0)
    return counts, total
