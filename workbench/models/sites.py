"""Sites: named places whose value a hook can read or replace, and how a raw tensor becomes that value.

Axis names used everywhere: batch, pos (a position in the input), query (the position that attends), key (the
position attended to), head (query head), kv_head (key and value head; fewer than head under grouped-query attention),
d_model (width of the residual stream), d_embed (of ALBERT's and ELECTRA's narrower embeddings), d_head, d_mlp, vocab,
layer (counted from 0).

Names are TransformerLens's activation names without `hook_`. Meanings are exact:

    embed                    output of the token embedding; of the whole embedding stage for images and audio
    pos_embed                what the learned positions add
    blocks.{i}.resid_pre     the stream that enters block i
    blocks.{i}.attn_out      what attention adds to the stream, before any norm of the sum
    blocks.{i}.resid_mid     the stream after attention (post-norm families: after the first norm); absent in parallel
                             blocks. In pre-norm families an edit goes through attn_out := new - resid_pre
    blocks.{i}.mlp_out       what the MLP adds to the stream, before any norm of the sum
    blocks.{i}.resid_post    the stream that leaves block i
    blocks.{i}.attn.q k v    queries, keys, values before any rotary embedding; k and v per kv_head
    blocks.{i}.attn.rot_q rot_k   queries and keys after it (rotary families only)
    blocks.{i}.attn.attn_scores   scaled and masked scores, before the softmax
    blocks.{i}.attn.pattern  attention: (query, key), rows sum to one
    blocks.{i}.attn.z        per head, the pattern-weighted mean of the values
    blocks.{i}.mlp.pre       input of the activation function (of the gate, in gated MLPs)
    blocks.{i}.mlp.pre_linear     the other factor of a gated MLP
    blocks.{i}.mlp.post      what the last linear map of the MLP reads
    blocks.{i}.mixer.out     what a state-space mixer adds to the stream
    ln_final                 output of the final norm
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

RESID = ("batch", "pos", "d_model")
SHAPES: dict[str, tuple[str, ...]] = {
    "attn_scores": ("batch", "head", "query", "key"),
    "pattern": ("batch", "head", "query", "key"),
    "q": ("batch", "pos", "head", "d_head"),
    "rot_q": ("batch", "pos", "head", "d_head"),
    "z": ("batch", "pos", "head", "d_head"),
    "k": ("batch", "pos", "kv_head", "d_head"),
    "rot_k": ("batch", "pos", "kv_head", "d_head"),
    "v": ("batch", "pos", "kv_head", "d_head"),
    "pre": ("batch", "pos", "d_mlp"),
    "pre_linear": ("batch", "pos", "d_mlp"),
    "post": ("batch", "pos", "d_mlp"),
}
"""Axes of a site, by the last part of its name; whatever is not here lies in the residual stream."""


@dataclass(frozen=True)
class Place:
    """Where a site's value passes: out of a module, into one, or through our attention function."""

    path: str
    side: Literal["out", "in", "q", "k", "v", "attn_scores", "pattern", "z"] = "out"
    layout: str = "same"
    call: int | None = None
    """Which call of a module that one forward pass calls several times (ALBERT's shared layer)."""


@dataclass(frozen=True)
class Sum:
    """A stream that no module outputs: the value of site `base` plus that of the site at `added`."""

    base: str
    added: str


@dataclass(frozen=True)
class Site:
    """One named place of one model: its axes, and whether replacing its value changes the output."""

    name: str
    shape: tuple[str, ...]
    place: Place | Sum
    editable: bool = True


def axes(name: str) -> tuple[str, ...]:
    """The axis names of a site's value."""
    return SHAPES.get(name.rpartition(".")[2], RESID)


@dataclass(frozen=True)
class Layout:
    """How a raw tensor is seen as a site's value, and how a new value is put back into the raw tensor."""

    view: Callable[[Tensor], Tensor]
    put: Callable[[Tensor, Tensor], Tensor]


def layout(name: str, d_head: int) -> Layout:
    """The layout called `name`; `d_head` is needed by those that split heads."""
    kind, _, part = name.partition(":")
    return _LAYOUTS[kind](d_head, int(part or 0))


def _same(_d_head: int, _part: int) -> Layout:
    return Layout(lambda raw: raw, lambda _raw, new: new)


def _head_first(_d_head: int, _part: int) -> Layout:
    """(batch, head, pos, d_head), as attention functions hold it."""
    return Layout(lambda raw: raw.transpose(1, 2), lambda _raw, new: new.transpose(1, 2))


def _heads(d_head: int, _part: int) -> Layout:
    """(batch, pos, head * d_head), as a projection gives it."""
    return Layout(lambda raw: raw.unflatten(-1, (-1, d_head)), lambda _raw, new: new.flatten(-2))


def _fused(d_head: int, part: int) -> Layout:
    """(batch, pos, head * [q | k | v]), as GPT-NeoX's one projection gives it; `part` 0, 1, 2 is q, k, v."""

    def put(raw: Tensor, new: Tensor) -> Tensor:
        parts = list(raw.unflatten(-1, (-1, 3, d_head)).unbind(-2))
        parts[part] = new
        return torch.stack(parts, -2).flatten(-3)

    return Layout(lambda raw: raw.unflatten(-1, (-1, 3, d_head))[..., part, :], put)


def _thirds(d_head: int, part: int) -> Layout:
    """(batch, pos, [q | k | v]), as GPT-2's one projection gives it; `part` 0, 1, 2 is q, k, v."""

    def put(raw: Tensor, new: Tensor) -> Tensor:
        parts = list(raw.unflatten(-1, (3, -1, d_head)).unbind(-3))
        parts[part] = new
        return torch.stack(parts, -3).flatten(-3)

    return Layout(lambda raw: raw.unflatten(-1, (3, -1, d_head))[..., part, :, :], put)


_LAYOUTS: dict[str, Callable[[int, int], Layout]] = {
    "same": _same,
    "head_first": _head_first,
    "heads": _heads,
    "fused": _fused,
    "thirds": _thirds,
}


def first_tensor(output: Any) -> Tensor:
    """The activation in a module's output, which some modules wrap in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_first(output: Any, new: Tensor) -> Any:
    """The same output with another activation in it."""
    return (new, *output[1:]) if isinstance(output, tuple) else new
