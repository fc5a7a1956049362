"""The attention function that transformers calls while attention sites are read or edited.

It is registered with transformers' public `AttentionInterface`, so the modules of the model stay as they are; it does
what each family's own eager attention does, and hands every intermediate value to the sites that want it. Extras
that it does not know are refused, never ignored.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import UnsupportedModel

NAME = "workbench"
PARTS = ("q", "k", "v", "attn_scores", "pattern", "z")
Route = Callable[[str, Tensor], Tensor]
ROUTES: dict[int, Route] = {}
"""id of an attention module -> what its values are shown to; filled only while its sites are read or edited."""

HARMLESS = {"position_ids", "use_cache", "cache_position", "output_attentions", "is_causal", "sliding_window"}
"""Extras that families pass along and that eager attention ignores: the mask already says what they say."""


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    **extras: Any,
) -> tuple[Tensor, Tensor]:
    """Softmax attention over (batch, head, pos, d_head), key and value per kv head; gives z and the pattern."""
    if extras.get("s_aux") is not None:
        raise UnsupportedModel(
            f"{type(module).__name__} adds learned attention sinks to its softmax, which the attention sites do not"
            " describe. Its other sites (resid_pre, attn_out, mlp_out ...) can be read and edited."
        )
    at = ROUTES.get(id(module), _unseen)
    query, key, value = at("q", query), at("k", key), at("v", value)
    key, value = _for_each(query.shape[1], key), _for_each(query.shape[1], value)
    scores = torch.matmul(query, key.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        scores = scores + position_bias
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = at("attn_scores", scores).softmax(-1, dtype=torch.float32 if scores.dtype.itemsize < 4 else None)
    pattern = nn.functional.dropout(at("pattern", pattern.to(query.dtype)), p=dropout, training=module.training)
    z = at("z", torch.matmul(pattern, value))
    return z.transpose(1, 2).contiguous(), pattern


def _for_each(n_heads: int, x: Tensor) -> Tensor:
    """Keys or values with a head for each query head; edits may have given them that many."""
    return x if x.shape[1] == n_heads else x.repeat_interleave(n_heads // x.shape[1], 1)


def _unseen(_part: str, value: Tensor) -> Tensor:
    return value


@contextmanager
def installed(root: Any) -> Iterator[None]:
    """Run `root` (a transformers model) through this attention function; its own is restored after."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)
    owned = (getattr(module, "config", None) for module in root.modules())
    configs: dict[int, Any] = {id(c): c for c in owned if hasattr(c, "_attn_implementation")}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for config, _ in before:  # each by itself, so that a mix of implementations is restored as it was
            config._attn_implementation_internal = NAME
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation
