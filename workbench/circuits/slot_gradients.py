"""How much the metric moves when what one slot reads moves: gradients at each slot's own input, through its norm.

The gradient at a query, key or value belongs to one slot alone; its weights and the norm before it are known as
numbers, so the gradient of what the slot reads is one product away, exact, and no slot needs a backward pass of its
own. An MLP's is there already, at what its inner maps are given. One forward and one backward pass for all slots.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.circuits.blocks import Calls, run_blocks
from workbench.circuits.split import PARTS, Layer, Wiring, inner_maps
from workbench.functional import norm_gradient, repeat_kv
from workbench.hooks import Edit, Values, editing, reading
from workbench.models.architectures import MlpRow
from workbench.models.lens_model import LensModel
from workbench.models.linear_maps import Norm
from workbench.models.sites import RESID, Place, Site

Measure = Callable[[Float[Tensor, "rows vocab"]], Float[Tensor, "rows"]]
"""The metric of each row, from its logits at the answer position."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Slopes:
    """Gradients of the metric, summed over the batch, and the streams that the norms met on the way."""

    gradients: Float[Tensor, "slot batch pos d_model"]
    """At what each slot reads: before its norm in pre-norm models, the stream itself in post-norm ones."""
    values: Float[Tensor, "batch"]
    """The metric itself."""
    sums: dict[tuple[int, str], Float[Tensor, "batch pos d_model"]]
    """(layer, "norm1" or "norm2") -> what that norm normalised, in post-norm models; empty in others."""


def slot_gradients(
    wiring: Wiring,
    calls: Calls,
    stream: Float[Tensor, "batch pos d_model"],
    position: Int[Tensor, "batch"],
    measure: Measure,
    *,
    start: int = 0,
    edits: dict[str, Edit] | None = None,
    into: Float[Tensor, "slot batch pos d_model"] | None = None,
) -> Slopes:
    """Run blocks `start` to the last on `stream`, with `edits`, and give the gradient at every slot of theirs.

    Slots of earlier blocks have zeros. With `into` gradients are added to those that are there. Memory: slots * batch *
    pos * d_model numbers beside the graph of the pass.
    """
    layers, model = wiring.layers[start:], _with_mlp_inputs(wiring)
    inside = [site for layer in layers for site in _inner_sites(layer)]
    outside = [site for layer in layers for site in _stream_sites(wiring, layer)]
    with (
        torch.enable_grad(),
        _each_head(wiring, layers),
        editing(model, edits or {}),
        reading(model, inside, gradients=True) as values,
        reading(model, outside) as streams,
    ):
        last = run_blocks(calls, start, stream.detach().requires_grad_())
        found = measure(wiring.answers(last, position))
        slopes = torch.autograd.grad(found.sum(), [last, *(values[site] for site in inside)], allow_unused=True)
    by_site = {site: slope for site, slope in zip(inside, slopes[1:], strict=True) if slope is not None}
    with torch.no_grad():
        gradients = stream.new_zeros(wiring.n_slots, *stream.shape) if into is None else into
        assert slopes[0] is not None, "the metric reads the last stream"
        gradients[-1] += slopes[0]
        for layer in layers:
            _put(wiring, layer, by_site, streams, gradients)
        sums = {key: x for layer in layers for key, x in _sums(layer, streams)} if wiring.post else {}
    return Slopes(gradients=gradients, values=found.detach(), sums=sums)


def through_norm(norm: Norm, at: Tensor, upstream: Tensor) -> Tensor:
    """Gradients after a norm, carried before it."""
    weight = norm.weight.to(upstream)
    return norm_gradient(at.detach().to(upstream), upstream, centred=norm.centred, eps=norm.eps, weight=weight)


def _inner_sites(layer: Layer) -> list[str]:
    return [layer.site(part) for part in PARTS] + _mlp_inputs(layer)


def _mlp_inputs(layer: Layer) -> list[str]:
    return [] if layer.mlp is None else [f"{site}_input" for site in inner_maps(layer)]


def _with_mlp_inputs(wiring: Wiring) -> LensModel:
    """The model with sites of what the inner maps of its MLPs are given, one for each though it is the same."""
    model, row = wiring.model, wiring.model.main.row
    sites: dict[str, Site] = {}
    for layer in wiring.layers:
        for name, path in zip(_mlp_inputs(layer), _inner_paths(row.mlp), strict=True):
            call = layer.number if row.repeated else None
            place = Place(f"{model.main.paths[layer.number]}.{path}", "in", call=call)
            sites[name] = Site(name, RESID, place)
    return replace(model, sites=MappingProxyType({**model.sites, **sites}))


def _inner_paths(row: MlpRow | None) -> list[str]:
    return [] if row is None else [path for path in (row.inner, row.linear) if path is not None]


def _stream_sites(wiring: Wiring, layer: Layer) -> list[str]:
    """Sites of the streams that a block's norms meet."""
    names = ["resid_pre"]
    if wiring.post:
        names += ["attn_out"] + ([] if layer.mlp is None else ["resid_mid", "mlp_out"])
    elif layer.mlp is not None and wiring.order == "pre":
        names.append("resid_mid")
    return [f"{layer.block}.{name}" for name in names]


@contextmanager
def _each_head(wiring: Wiring, layers: tuple[Layer, ...]) -> Iterator[None]:
    """Keys and values as tensors with a head for each slot, so that each has a gradient of its own."""
    n_heads, edits = wiring.graph.n_heads, {}
    if wiring.graph.slots == "query-head" and wiring.graph.n_kv_heads < n_heads:

        def repeated(x: Tensor) -> Tensor:
            return repeat_kv(x, n_heads, dim=-2)

        edits = {layer.site(part): repeated for layer in layers for part in "kv"}
    with editing(wiring.model, edits):
        yield


def _put(wiring: Wiring, layer: Layer, slopes: dict[str, Tensor], streams: Values, into: Tensor) -> None:
    """The gradients at the slots of one block, added to (slot, batch, pos, d_model)."""
    d_model, pre = into.shape[-1], None if wiring.post else streams[f"{layer.block}.resid_pre"]
    attention = slice(layer.slots["q"].start, layer.slots["v"].stop)
    found = into.new_zeros(attention.stop - attention.start, *into.shape[1:])
    for part in PARTS:
        if (slope := slopes.get(layer.site(part))) is not None:
            weight = layer.reads[part][0].permute(1, 2, 0).to(slope)  # (slot, d_head, d_model)
            flat = slope.permute(2, 0, 1, 3).flatten(1, 2)
            own = slice(layer.slots[part].start - attention.start, layer.slots[part].stop - attention.start)
            torch.bmm(flat, weight, out=found[own].view(len(flat), -1, d_model))
    into[attention] += found if pre is None else through_norm(layer.norm1, pre, found)
    mine = [slopes[site] for site in _mlp_inputs(layer) if site in slopes]
    if not mine:
        return
    total = mine[0] if len(mine) == 1 else mine[0] + mine[1]
    if pre is not None:
        read = pre if wiring.order == "parallel" else streams[f"{layer.block}.resid_mid"]
        total = through_norm(layer.norm2, read, total)
    into[layer.slots["mlp"]] += total


def _sums(layer: Layer, streams: Values) -> Iterator[tuple[tuple[int, str], Tensor]]:
    lead = layer.block
    yield (layer.number, "norm1"), (streams[f"{lead}.resid_pre"] + streams[f"{lead}.attn_out"]).detach()
    if layer.mlp is not None:
        yield (layer.number, "norm2"), (streams[f"{lead}.resid_mid"] + streams[f"{lead}.mlp_out"]).detach()
