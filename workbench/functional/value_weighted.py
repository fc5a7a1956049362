"""How much each source moves a head's output, not only how much it is looked at: attention times length of the value.

Reference: Kobayashi et al. (2020), "Attention is Not Only a Weight: Analyzing Transformers with Vector Norms".
"""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.functional.query_key import repeat_kv


def source_norms(
    values: Float[Tensor, "*batch key kv_head d_head"], w_o: Float[Tensor, "head d_head d_model"]
) -> Float[Tensor, "*batch head key"]:
    """Length of v W_O, what a source would add to the stream if a head looked only at it.

    Values of grouped-query models are given per kv head. Head by head: at most [key, d_model] at a time.
    """
    values = repeat_kv(values, w_o.shape[0], dim=-2)
    norms = [torch.linalg.vector_norm(values[..., head, :] @ w_o[head], dim=-1) for head in range(w_o.shape[0])]
    return torch.stack(norms, dim=-2)  # (*batch, head, key)


def value_weighted_pattern(
    pattern: Float[Tensor, "*batch head query key"], norms: Float[Tensor, "*batch head key"]
) -> Float[Tensor, "*batch head query key"]:
    """Length of each source's contribution to a head's output: alpha * ||v W_O||. Rows do not sum to one.

    Units are those of the residual stream. Nothing of size [query, key, d_model] is made.
    """
    return pattern * norms[..., None, :]
