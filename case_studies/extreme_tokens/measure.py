"""What a model loses by kind of token, and where its heads look when they are at each kind."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

import workbench
from case_studies.extreme_tokens.chain import START, is_other, is_trigger
from workbench.functional import norm_ratio

Ids = Int[Tensor, "sequence pos"]


def kinds(ids: Ids) -> dict[str, Bool[Tensor, "sequence pos"]]:
    """Which positions hold the start, a trigger, or another symbol."""
    return {"start": ids == START, "trigger": is_trigger(ids), "other": is_other(ids)}


@torch.no_grad()
def token_losses(module: Any, ids: Ids) -> Float[Tensor, "sequence query"]:
    """Cross-entropy (nats) of the token after each, the last left out."""
    logits = module(ids[:, :-1]).logits
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(ids[:, 1:].shape)


def losses(module: Any, ids: Ids) -> dict[str, float]:
    """Mean loss by kind of token that the next one is predicted from."""
    each = token_losses(module, ids)
    return {f"loss.{kind}": each[at].mean().item() for kind, at in kinds(ids[:, :-1]).items()}


@torch.no_grad()
def looks(model: workbench.LensModel, ids: Ids) -> dict[str, float]:
    """What each layer's one head does at triggers and at others, and how the start differs from the other tokens.

    By layer, after the dot: `sink` mean attention to the start at other symbols and `sink_trigger` at triggers,
    `previous` and `previous_other` attention to the token before; `gap` the score (before softmax) of the start less
    the mean score of the other keys that are seen, at other symbols; `value` and `peak` the norm of the start's value
    (of its state after the layer) over the mean norm of the other tokens'; `output` the norm of what the head adds at
    other symbols over the same at triggers. The first query, which sees nothing but itself, is left out.
    """
    parts = ("attn_scores", "pattern", "v")
    named = {part: model.attention_sites(None, part) for part in parts}
    layers = range(len(named["pattern"]))
    outside = [f"blocks.{layer}.{part}" for layer in layers for part in ("attn_out", "resid_post")]
    with workbench.reading(model, [*(site for sites in named.values() for site in sites), *outside]) as read:
        model.module(ids[:, :-1])
    at = kinds(ids[:, :-1])
    found = {}
    for layer in layers:
        scores, pattern = (read[named[part][layer]][:, 0] for part in ("attn_scores", "pattern"))  # (seq, query, key)
        before = pattern.diagonal(-1, 1, 2)  # (sequence, query 1 and on)
        seen = torch.ones_like(scores[0]).tril()
        seen[:, START] = 0
        mean = (scores * seen).masked_fill(seen == 0, 0).sum(-1) / seen.sum(-1).clamp(min=1)
        out = read[f"blocks.{layer}.attn_out"].norm(dim=-1)
        values = {
            "sink": pattern[..., START][at["other"]].mean(),
            "sink_trigger": pattern[..., START][at["trigger"]].mean(),
            "previous": before[at["trigger"][:, 1:]].mean(),
            "previous_other": before[at["other"][:, 1:]].mean(),
            "gap": (scores[..., START] - mean)[at["other"]].mean(),
            "value": norm_ratio(read[named["v"][layer]][:, :, 0])[:, START].mean(),
            "peak": norm_ratio(read[f"blocks.{layer}.resid_post"])[:, START].mean(),
            "output": out[at["other"]].mean() / out[at["trigger"]].mean(),
        }
        found |= {f"{name}.{layer}": value.item() for name, value in values.items()}
    return found
