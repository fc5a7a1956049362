"""Why a query looks at a key: the attention score split into one term for each dimension of the head."""

from jaxtyping import Float
from torch import Tensor


def query_key_terms(
    query: Float[Tensor, "*batch d_head"], key: Float[Tensor, "*batch d_head"], *, scale: float | None = None
) -> Float[Tensor, "*batch d_head"]:
    """What each dimension adds to the score of one query and one key; the terms sum to scale * q.k exactly.

    Give q and k as the scores see them: after rotary embedding where there is one (dimensions i and i + d_head / 2
    then turn together). `scale` is 1 / sqrt(d_head) unless given.
    """
    return query * key * (query.shape[-1] ** -0.5 if scale is None else scale)


def repeat_kv(x: Tensor, n_heads: int, *, dim: int) -> Tensor:
    """Repeat what is per kv head for each query head: query head h reads kv head h // (n_heads / n_kv_heads)."""
    return x.repeat_interleave(n_heads // x.shape[dim], dim)
