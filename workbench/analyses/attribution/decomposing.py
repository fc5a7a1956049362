"""The parts of a model's answers: each source token's share carried from the first state to the logits, step by step.

Everything is computed anew from the first states, the attention patterns and the model's maps; `functional.decompx`
has the rules. Nodes are those of the evidence: in encoder-decoders the encoder's tokens, then the decoder's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import functional
from workbench.activations.estimating import available_memory, readable
from workbench.analyses.attribution.evidence import Evidence, Wanted, stacks
from workbench.errors import BadInput
from workbench.functional.decompx import BIAS_SPLITS, MlpBranch, Split
from workbench.functional.precision import precise
from workbench.models.lens_model import Blocks, LensModel
from workbench.models.linear_maps import LinearMap, MlpMap, Norm
from workbench.progress import track


@dataclass(frozen=True, eq=False, kw_only=True)
class Walk:
    """One stack, and how parts go through it."""

    model: LensModel
    stack: Blocks
    patterns: Mapping[str, Float[Tensor, "layer head query key"]]
    split: Split
    gate_share: float
    reach: Bool[Tensor, "source pos"]
    """Which sources can reach which position of this stack."""


def wanted(model: LensModel) -> Wanted:
    """What a decomposition starts from: the patterns, and the states that enter the first blocks."""
    return Wanted(patterns=True, sites=tuple(f"{stack.prefix}.0.resid_pre" for stack in stacks(model)))


@torch.no_grad()
def decomposed_answers(
    evidence: Evidence, answers: tuple[int, ...], *, biases: str = "absdot", gate_share: float = 0.5
) -> Float[Tensor, "answer source"]:
    """What each node adds to the logit of each answer; all together are the logit, up to rounding.

    With `biases="apart"` there is one more source, the last: what all biases add.
    """
    model, every = evidence.model, stacks(evidence.model)
    starts = [precise(evidence.values[f"{stack.prefix}.0.resid_pre"]) for stack in every]
    n_nodes, before = sum(len(x) for x in starts), 0
    n_sources = n_nodes + (biases == "apart")
    memory, walk = None, None
    for stack, start in zip(every, starts, strict=True):
        walk = Walk(
            model=model,
            stack=stack,
            patterns=evidence.patterns,
            split=BIAS_SPLITS[biases],
            gate_share=gate_share,
            reach=_reach(stack, n_sources, before, len(start), start.device),
        )
        parts = _through_stack(walk, _each_its_own(start, before, n_sources), memory)
        before += len(start)
        if stack is not every[-1]:
            last = model.last_norm(stack.prefix)
            memory = parts if last is None else _normed(walk, last, parts)
    assert walk is not None, "a model has blocks"
    at = evidence.target.position
    head = replace(walk, reach=walk.reach[:, at : at + 1])
    return _answered(head, parts[:, at : at + 1], answers)[:, 0].T


def check_memory(model: LensModel, n_nodes: int, itemsize: int) -> int:
    """Bytes that a decomposition over that many nodes takes; a sentence where that is more than there is."""
    sizes = model.main.sizes
    mlp = model.mlp_map(0, model.main.prefix)
    needed = functional.decomposition_bytes(
        n_nodes + 1,
        n_nodes,
        sizes.d_model,
        0 if mlp is None else mlp.inner.weight.shape[1],
        sizes.n_heads * sizes.d_head,
        max(itemsize, 4),
    )
    free = available_memory() if model.device.type == "cpu" else None
    if free is not None and needed > free:
        raise BadInput(
            f"A decomposition over {n_nodes} tokens of {model.name} carries {readable(needed)} through each layer, and"
            f" {readable(free)} are free. Give a shorter prompt, or a smaller model."
        )
    return needed


def _each_its_own(start: Float[Tensor, "pos d_model"], before: int, n_sources: int) -> Float[Tensor, "source pos d"]:
    """Parts of the first states: all of each belongs to its own token."""
    parts = start.new_zeros(n_sources, *start.shape)
    mine = torch.arange(len(start), device=start.device)
    parts[before + mine, mine] = start
    return parts


def _through_stack(walk: Walk, parts: Tensor, memory: Tensor | None) -> Tensor:
    for layer in track(range(walk.stack.n_blocks), label=f"{walk.stack.prefix} decomposed"):
        parts = _through_block(walk, layer, parts, memory)
    return parts


def _through_block(walk: Walk, layer: int, parts: Tensor, memory: Tensor | None) -> Tensor:
    stack, model = walk.stack, walk.model
    norms, mlp = model.norms(layer, stack.prefix), model.mlp_map(layer, stack.prefix)
    first, *others = stack.attentions
    if stack.row.order == "post":
        parts = _normed(walk, norms["norm1"], parts + _attended(walk, first, layer, parts))
        for name in others:
            assert memory is not None
            parts = _normed(walk, norms["norm_cross"], parts + _attended(walk, name, layer, memory))
        return parts if mlp is None else _normed(walk, norms["norm2"], parts + _mlp(walk, mlp, parts))
    normed = _normed(walk, norms["norm1"], parts)
    added = _attended(walk, first, layer, normed)
    if stack.row.order == "parallel":
        if mlp is not None:
            added += _mlp(walk, mlp, _normed(walk, norms["norm2"], parts) if "norm2" in norms else normed)
        return parts + added
    parts = parts + added
    for name in others:
        assert memory is not None
        parts = parts + _attended(walk, name, layer, memory)
    return parts if mlp is None else parts + _mlp(walk, mlp, _normed(walk, norms["norm2"], parts))


def _normed(walk: Walk, norm: Norm, parts: Float[Tensor, "source pos d"]) -> Float[Tensor, "source pos d"]:
    scale = functional.norm_scale(parts.sum(0), centred=norm.centred, eps=norm.eps)
    parts = functional.frozen_norm(parts, scale, centred=norm.centred, weight=norm.weight.to(parts))
    return parts if norm.bias is None else functional.with_bias(parts, norm.bias.to(parts), walk.split, walk.reach)


def _attended(
    walk: Walk, name: str, layer: int, reads: Float[Tensor, "source key d_model"]
) -> Float[Tensor, "source query d_model"]:
    """What attention adds; the biases of its values and of its output are one vector, split once."""
    full = f"{walk.stack.prefix}.{name}"
    (w_v, b_v), (w_o, b_o) = walk.model.value_map(full, layer), walk.model.output_map(full, layer)
    w_v, b_v, w_o, b_o = (x.to(reads) for x in (w_v, b_v, w_o, b_o))
    pattern = walk.patterns[full][layer].to(reads)
    b_v = functional.repeat_kv(b_v, len(w_o), dim=0)
    bias = b_o + torch.einsum("hq,hd,hdm->qm", pattern.sum(-1), b_v, w_o)
    parts = functional.attention_parts(reads, pattern, w_v, w_o)
    return functional.with_bias(parts, bias, walk.split, walk.reach)


def _mlp(walk: Walk, mlp: MlpMap, reads: Float[Tensor, "source pos d_model"]) -> Float[Tensor, "source pos d_model"]:
    inner, outer = _like(mlp.inner, reads), _like(mlp.outer, reads)
    before = inner(reads.sum(0))
    activated, at_zero = mlp.activation(before), functional.slope_at_zero(mlp.activation, before)
    if mlp.linear is None:
        slope = functional.activation_slope(before, activated, at_zero)
        branches = [MlpBranch(weight=inner.weight, bias=inner.bias, slope=slope)]
    else:
        other = _like(mlp.linear, reads)
        slopes = functional.gated_slopes(before, activated, other(reads.sum(0)), at_zero, walk.gate_share)
        branches = [
            MlpBranch(weight=one.weight, bias=one.bias, slope=slope)
            for one, slope in zip((inner, other), slopes, strict=True)
            if slope.any()
        ]
    parts = functional.mlp_parts(reads, branches, outer.weight, walk.split, walk.reach)
    return parts if outer.bias is None else functional.with_bias(parts, outer.bias, walk.split, walk.reach)


def _answered(
    walk: Walk, parts: Float[Tensor, "source 1 d_model"], answers: tuple[int, ...]
) -> Float[Tensor, "source 1 answer"]:
    """The head, step by step. The bias of each answer is split by itself, so that answers can be subtracted."""
    *steps, last = walk.model.head_maps(answers)
    for step in steps:
        if isinstance(step, Norm):
            parts = _normed(walk, step, parts)
        elif isinstance(step, LinearMap):
            linear = _like(step, parts)
            parts = parts @ linear.weight
            parts = parts if linear.bias is None else functional.with_bias(parts, linear.bias, walk.split, walk.reach)
        else:
            before = parts.sum(0)
            at_zero = functional.slope_at_zero(step, before)
            parts = parts * functional.activation_slope(before, step(before), at_zero)
    assert isinstance(last, LinearMap)
    linear = _like(last, parts)
    parts = parts @ linear.weight  # (source, 1, answer)
    if linear.bias is None:
        return parts
    each = [
        functional.with_bias(parts[..., i : i + 1], linear.bias[i : i + 1], walk.split, walk.reach)
        for i in range(len(answers))
    ]
    return torch.cat(each, -1)


def _reach(stack: Blocks, n_sources: int, before: int, length: int, device: torch.device) -> Bool[Tensor, "source pos"]:
    """Sources that can reach each position: all that came before this stack, and its own tokens as far as it sees."""
    own = torch.arange(n_sources, device=device)[:, None] - before
    last = torch.arange(length, device=device) if stack.causal else torch.full((length,), length - 1, device=device)
    return own <= last


def _like(linear: LinearMap, x: Tensor) -> LinearMap:
    return LinearMap(weight=linear.weight.to(x), bias=None if linear.bias is None else linear.bias.to(x))
