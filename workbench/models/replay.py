"""A forward pass done again from maps as numbers and the attention patterns it had: whether the maps say all."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from workbench.models.lens_model import Blocks, LensModel
from workbench.models.linear_maps import READS, read_by
from workbench.models.sites import RESID, Place, Site


@torch.no_grad()
def replayed_block(
    model: LensModel, stack: Blocks, layer: int, x: Tensor, patterns: Mapping[str, Tensor], memory: Tensor | None
) -> Tensor:
    """The stream (batch, pos, d_model) that leaves a block which `x` enters, from numbers alone.

    `patterns`: attention's short name -> (batch, head, query, key); `memory` is what cross-attention reads.
    """
    row, norms, mlp = stack.row, model.norms(layer, stack.prefix), model.mlp_map(layer, stack.prefix)
    first, *others = stack.attentions

    def attended(name: str, reads: Tensor) -> Tensor:
        return _attended(model, f"{stack.prefix}.{name}", layer, patterns[name], reads)

    if row.order == "post":
        x = norms["norm1"](x + attended(first, x))
        for name in others:
            x = norms["norm_cross"](x + attended(name, _known(memory)))
        return x if mlp is None else norms["norm2"](x + mlp(x))
    added = attended(first, norms["norm1"](x))
    if row.order == "parallel":
        return x + added if mlp is None else x + added + mlp(norms.get("norm2", norms["norm1"])(x))
    x = x + added
    for name in others:
        x = x + attended(name, _known(memory))
    return x if mlp is None else x + mlp(norms["norm2"](x))


def replay_gap(model: LensModel, values: Mapping[str, Tensor], logits: Tensor | None) -> float:
    """How far blocks and head, done again from numbers, are from what the model did, as a share of its largest value.

    `values` are those of all sites; each block starts from the true stream.
    """
    memory, gap = None, 0.0
    for stack in model.stacks:
        for layer in range(stack.n_blocks):
            lead = f"{stack.prefix}.{layer}"
            patterns = {name: values[f"{lead}.{name}.pattern"] for name in stack.attentions}
            found = replayed_block(model, stack, layer, values[f"{lead}.resid_pre"], patterns, memory)
            gap = max(gap, _gap(found, values[f"{lead}.resid_post"]))
        memory, last = values[f"{lead}.resid_post"], model.last_norm(stack.prefix)
        memory = memory if last is None else last(memory)
    if logits is None:
        return gap
    state, answers = values[model.stream("resid_post")[-1]], list(range(min(4, logits.shape[-1])))
    with torch.no_grad():
        for step in model.head_maps(answers):
            state = step(state)
    if logits.ndim == 2:
        state = state[:, -1 if model.main.causal else 0]
    return max(gap, _gap(state, logits[..., answers], size=logits))


def with_read_inputs(model: LensModel) -> LensModel:
    """The model with sites of what the maps of its queries, keys and values read: "blocks.0.attn.q_input" ..."""
    inputs: dict[str, Site] = {}
    for stack in model.stacks:
        for short, part in itertools.product(stack.attentions, READS):
            if (found := read_by(model.module, stack, short, part)) is not None:
                for i, path in enumerate(stack.paths):
                    name = f"{stack.prefix}.{i}.{short}.{part}_input"
                    inputs[name] = Site(
                        name, RESID, Place(f"{path}.{found[0]}", "in", call=i if stack.row.repeated else None)
                    )
    return replace(model, sites=MappingProxyType({**model.sites, **inputs}))


@torch.no_grad()
def reads_gap(model: LensModel, values: Mapping[str, Tensor]) -> float:
    """How far queries, keys and values by their maps are from those at the sites, as a share of the largest.

    `values` are those of all sites of `with_read_inputs`. Only what is read before any rotary embedding is compared.
    """
    came = [site.removesuffix("_input") for site in values if site.endswith("_input")]
    gaps = [_read_gap(model, site, values[site], values[f"{site}_input"]) for site in came if site in values]
    return max(gaps, default=torch.inf)


def _read_gap(model: LensModel, site: str, real: Tensor, reads: Tensor) -> float:
    prefix, layer, short, part = site.split(".")
    maps = {"q": model.query_map, "k": model.key_map, "v": model.value_map}
    weight, bias = maps[part](f"{prefix}.{short}", int(layer))
    found = torch.einsum("...m,mhd->...hd", reads, weight) + bias
    return _gap(found.view(real.shape), real) if found.numel() == real.numel() else torch.inf


def _attended(model: LensModel, name: str, layer: int, pattern: Tensor, reads: Tensor) -> Tensor:
    (w_v, b_v), (w_o, b_o) = model.value_map(name, layer), model.output_map(name, layer)
    values = torch.einsum("bkm,mhd->bhkd", reads, w_v) + b_v[:, None]
    values = values.repeat_interleave(len(w_o) // values.shape[1], 1)
    return torch.einsum("bhqk,bhkd,hdm->bqm", pattern, values, w_o) + b_o


def _gap(found: Tensor, real: Tensor, size: Tensor | None = None) -> float:
    return ((found - real).abs().max() / (real if size is None else size).abs().max().clamp(min=1e-6)).item()


def _known(memory: Any) -> Tensor:
    assert memory is not None, "cross-attention reads a stack that came before"
    return memory
