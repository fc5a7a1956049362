"""A TransformerLens `TransformerBridge` that the user brings, read through its own hook points.

Which of them a forward pass really comes by differs by family, so one short pass is run to see. Where the bridge's
hook fires on values that were used already (attention scores and patterns of encoders), the site is read-only or left
out. The plain transformers module, given to `adapt`, offers more sites; see the table in the documentation.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models.architectures import Architecture, AttentionRow, Stack
from workbench.models.lens_model import Blocks, LensModel, Sizes
from workbench.models.sites import Place, Site, Sum, axes, first_tensor

POINTS: Mapping[str, str] = {
    "resid_pre": "hook_in",
    "attn_out": "attn.hook_out",
    "mlp_out": "mlp.hook_out",
    "mixer.out": "mixer.hook_out",
    "resid_post": "hook_out",
    "attn.q": "attn.q.hook_out",
    "attn.k": "attn.k.hook_out",
    "attn.v": "attn.v.hook_out",
    "attn.rot_q": "attn.hook_rot_q",
    "attn.rot_k": "attn.hook_rot_k",
    "attn.attn_scores": "attn.hook_attn_scores",
    "attn.pattern": "attn.hook_pattern",
    "attn.z": "attn.o.hook_in",
    "mlp.pre": "mlp.gate.hook_out",
    "mlp.pre_linear": "mlp.in.hook_out",
    "mlp.post": "mlp.out.hook_in",
}
"""Site -> hook point of a block. An MLP without a gate has its `pre` at `mlp.in`."""


def adapt_bridge(bridge: Any, processor: Any = None, *, name: str | None = None, info: Any = None) -> LensModel:
    """A TransformerBridge behind the workbench's interface; see `adapt`."""
    config = bridge.cfg
    encoder = not bool(getattr(bridge.adapter, "supports_generation", True))
    seen = _seen(bridge)
    points = {site: path for site, path in POINTS.items() if f"blocks.0.{path}" in seen}
    if "mlp.pre" not in points and "mlp.pre_linear" in points:
        points["mlp.pre"] = points.pop("mlp.pre_linear")
    if encoder:  # wrong values there: the stream after the first norm, probabilities under the name of scores
        points = {site: path for site, path in points.items() if site not in ("attn_out", "attn.attn_scores")}
    parallel = bool(getattr(config, "parallel_attn_mlp", False))
    mixed = "mixer.out" in points
    row = Architecture(
        stacks=(
            Stack(
                blocks="blocks",
                places=points,
                attention={} if mixed else {"attn": AttentionRow(module=None)},
                embed="embed.hook_out",
                ln_final="ln_final.hook_out" if "ln_final.hook_out" in seen else None,
                order="mixer" if mixed else "post" if encoder else "parallel" if parallel else "pre",
                causal=not encoder,
            ),
        ),
        readout=() if encoder else ("ln_final", "unembed"),
        input_name="input",
        base="",
    )
    sizes = Sizes(
        n_blocks=config.n_layers,
        n_heads=0 if mixed else config.n_heads,
        n_kv_heads=0 if mixed else (getattr(config, "n_key_value_heads", None) or config.n_heads),
        d_model=config.d_model,
        d_head=0 if mixed else config.d_head,
    )
    stack = Blocks(row=row.stacks[0], sizes=sizes, paths=tuple(f"blocks.{i}" for i in range(config.n_layers)))
    sites = {site.name: site for site in _sites(stack, seen, fixed=encoder, summed=not (parallel or mixed or encoder))}
    have = {"text", "gradients", "resid"} | (set() if encoder else {"causal", "readout", "direct-logits"})
    have |= {part for part in ("attn_out", "mlp_out") if f"blocks.0.{part}" in sites}
    have |= {part for part in ("pattern", "z") if f"blocks.0.attn.{part}" in sites}
    have |= {"qk"} if "blocks.0.attn.q" in sites else set()
    have |= {"mlp"} if "blocks.0.mlp.post" in sites else set()
    notes = {"engine": "TransformerBridge", "readout": "not read through a bridge" if encoder else "trained head"}
    return LensModel(
        module=bridge,
        processor=processor if processor is not None else bridge.tokenizer,
        name=name or config.model_name,
        family="transformer_bridge",
        architecture=row,
        base="",
        stacks=(stack,),
        sites=MappingProxyType(sites),
        capabilities=frozenset(have),
        info=MappingProxyType({**notes, **(info or {})}),
    )


def _seen(bridge: nn.Module) -> dict[str, int]:
    """Path of each hook point that a forward pass comes by -> number of axes of its value."""
    found: dict[str, int] = {}
    wanted = [f"blocks.0.{path}" for path in POINTS.values()] + ["embed.hook_out", "ln_final.hook_out"]
    handles = []
    for path in wanted:
        try:
            module = bridge.get_submodule(path)
        except AttributeError:
            continue

        def note(_module: Any, _args: Any, output: Any, path: str = path) -> None:
            value = first_tensor(output)
            if isinstance(value, Tensor):
                found[path] = value.ndim

        handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            bridge(torch.zeros(1, 3, dtype=torch.long, device=next(bridge.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _sites(stack: Blocks, seen: Mapping[str, int], *, fixed: bool, summed: bool) -> list[Site]:
    found = [
        Site(name, axes(name), Place(f"{name}.hook_out"))
        for name in ("embed", "ln_final")
        if f"{name}.hook_out" in seen
    ]
    for i, path in enumerate(stack.paths):
        lead = f"blocks.{i}."
        for short, point in stack.row.places.items():
            shape = axes(short)
            flat = seen[f"blocks.0.{point}"] == len(shape) - 1
            layout = "heads" if flat else "head_first" if short.startswith("attn.rot_") else "same"
            used = fixed and short in ("attn.pattern", "attn.q", "attn.k", "attn.v", "attn.z")
            found.append(Site(lead + short, shape, Place(f"{path}.{point}", "out", layout), editable=not used))
        if summed and "attn_out" in stack.row.places:
            found.append(Site(lead + "resid_mid", axes("resid_mid"), Sum(lead + "resid_pre", lead + "attn_out")))
    return found
