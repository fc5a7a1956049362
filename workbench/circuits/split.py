"""What each node of a model writes to the residual stream, and what each slot makes of what it reads.

    wiring = split(model)                                # its graph, and its maps as numbers
    record = recorded_writes(wiring, batch)              # one forward pass
    record.writes                                        # (source, batch, pos, d_model)

The writes of all sources and the biases of the attention outputs add up to the stream of a pre-norm model. In post-norm
models (BERT) each norm follows a sum: there the stream is what the norms make of the sums, and a slot that reads
one write exchanged sees it through every norm on the way.
Heads write z W_O; the bias of W_O belongs to no head and stays as it is. The input writes what enters the first block.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.capabilities import lacking
from workbench.circuits.blocks import Calls, answers, recorded
from workbench.circuits.graph import CircuitGraph, Slots, circuit_graph
from workbench.errors import MissingCapability
from workbench.functional import repeat_kv
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.models.linear_maps import LinearMap, MlpMap, Norm

NEEDS = frozenset({"one-stack", "pattern", "z", "norms", "qk-maps", "decomposition", "gradients", "logits"})
"""Capabilities of a model whose edges can be followed."""
PARTS = "qkv"


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """One block as numbers, and where its sources and slots stand in the graph."""

    number: int
    reads: Mapping[str, tuple[Float[Tensor, "d_model slot d_head"], Float[Tensor, "slot d_head"]]]
    """q, k, v -> map and bias of each slot."""
    w_o: Float[Tensor, "head d_head d_model"]
    b_o: Float[Tensor, "d_model"]
    norm1: Norm
    norm2: Norm
    """What the MLP reads through in pre-norm and parallel blocks, what follows its sum in post-norm ones."""
    mlp: MlpMap | None
    heads: slice
    """Among the sources."""
    writers: slice
    """The MLP, or its neurons, among the sources; empty where there is none."""
    split: bool
    """Whether the MLP writes neuron by neuron."""
    slots: Mapping[str, slice]
    """q, k, v, mlp -> their place among the slots."""

    lead: str
    """What the sites of its attention begin with: blocks.3.attn."""
    block: str
    """What the sites of the block begin with: blocks.3."""

    def site(self, part: str) -> str:
        """The site of one part of this block's attention."""
        return f"{self.lead}.{part}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Wiring:
    """A model, its graph, and its blocks as numbers."""

    model: LensModel
    graph: CircuitGraph
    layers: tuple[Layer, ...]

    @property
    def order(self) -> str:
        """pre, parallel or post."""
        return self.model.main.row.order

    @property
    def post(self) -> bool:
        """Whether norms follow the sums."""
        return self.order == "post"

    @cached_property
    def n_sources(self) -> int:
        """How many nodes write."""
        return len(self.graph.sources)

    @cached_property
    def n_slots(self) -> int:
        """How many things read."""
        return len(self.graph.slot_names)

    def answers(self, last: Float[Tensor, "rows pos d_model"], position: Int[Tensor, "rows"]) -> Tensor:
        """Logits (rows, vocab) of last streams at the answer position, in at least single precision."""
        rows = torch.arange(len(position), device=last.device)
        return self.logits(last[rows, position.to(last.device)])

    def logits(self, state: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
        """Logits of last states, in at least single precision."""
        logits = answers(self.model, state)
        return logits.float() if logits.dtype.itemsize < 4 else logits


@dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    """One forward pass of a batch, taken apart by who wrote what."""

    calls: Calls
    writes: Float[Tensor, "source batch pos d_model"]
    logits: Float[Tensor, "batch vocab"]
    """At the answer position."""
    position: Int[Tensor, "batch"]
    """Where the answer is read."""

    @property
    def streams(self) -> tuple[Float[Tensor, "batch pos d_model"], ...]:
        """What entered each block, and what left the last."""
        return self.calls.streams


def split(model: LensModel, *, slots: Slots = "kv-head", neurons: tuple[int, ...] = ()) -> Wiring:
    """Take a model apart into its graph and the maps of its blocks. Costs views of the weights, and no forward pass.

    `slots="query-head"` gives every query head keys and values of its own to read. Needs the capabilities `NEEDS`, one
    stack of blocks with one attention each, and norms before (or, as in BERT, after) each part, not both.
    """
    if missing := NEEDS - model.capabilities:
        raise MissingCapability(lacking("Following edges", model.name, missing))
    if len(model.main.attentions) > 1:
        raise MissingCapability(
            f"Edges are followed through one attention a block; {model.name} has {', '.join(model.attentions)}."
        )
    graph = circuit_graph(model, slots=slots, neurons=neurons)
    return Wiring(model=model, graph=graph, layers=tuple(_layers(model, graph)))


def _layers(model: LensModel, graph: CircuitGraph) -> Iterator[Layer]:
    stack, name = model.main, f"{model.main.prefix}.{model.main.attentions[0]}"
    n_heads, n_keys = graph.n_heads, graph.n_heads if graph.slots == "query-head" else graph.n_kv_heads
    source, slot = 1, 0
    maps: dict[str, Callable[..., tuple[Tensor, Tensor]]]
    maps = {"q": model.query_map, "k": model.key_map, "v": model.value_map}
    for i in range(graph.n_layers):
        reads, slots = {}, {}
        for part, many in zip(PARTS, (n_heads, n_keys, n_keys), strict=True):
            weight, bias = maps[part](name, i)
            reads[part] = (repeat_kv(weight, many, dim=-2), repeat_kv(bias, many, dim=0))
            slots[part], slot = slice(slot, slot + many), slot + many
        heads, source = slice(source, source + n_heads), source + n_heads
        mlp, norms = model.mlp_map(i), model.norms(i)
        width = (graph.n_neurons if i in graph.neurons else 1) if mlp is not None else 0
        writers, source = slice(source, source + width), source + width
        slots["mlp"], slot = slice(slot, slot + (mlp is not None)), slot + (mlp is not None)
        w_o, b_o = model.output_map(name, i)
        yield Layer(
            number=i,
            reads=reads,
            w_o=w_o,
            b_o=b_o,
            norm1=norms["norm1"],
            norm2=norms.get("norm2", norms["norm1"]),
            mlp=mlp,
            heads=heads,
            writers=writers,
            split=i in graph.neurons,
            slots=slots,
            lead=f"{stack.prefix}.{i}.{stack.attentions[0]}",
            block=f"{stack.prefix}.{i}",
        )


def recorded_writes(wiring: Wiring, batch: Mapping[str, Tensor], position: Int[Tensor, "batch"]) -> Record:
    """One forward pass, and what each source wrote in it. Memory: sources * batch * pos * d_model numbers."""
    sites = [site for layer in wiring.layers for site in write_sites(layer)]
    with torch.no_grad(), reading(wiring.model, sites) as values:
        calls = recorded(wiring.model, batch)
    first = calls.streams[0]
    writes = first.new_empty(wiring.n_sources, *first.shape)
    writes[0] = first
    with torch.no_grad():
        for layer in wiring.layers:
            put_head_writes(layer, values[layer.site("z")], writes)
            if layer.mlp is not None:
                put_mlp_writes(layer, values[write_sites(layer)[-1]], writes)
        logits = wiring.answers(calls.streams[-1], position)
    return Record(calls=calls, writes=writes, logits=logits, position=position)


def write_sites(layer: Layer) -> list[str]:
    """Sites that say what a block's sources write: z, then the MLP's output or its neurons."""
    mlp = [] if layer.mlp is None else [f"{layer.block}.mlp.post" if layer.split else f"{layer.block}.mlp_out"]
    return [layer.site("z"), *mlp]


def put_head_writes(layer: Layer, z: Float[Tensor, "batch pos head d_head"], into: Tensor) -> None:
    """What each head writes, put into its rows of (source, batch, pos, d_model)."""
    flat = z.permute(2, 0, 1, 3).flatten(1, 2)  # (head, batch * pos, d_head)
    torch.bmm(flat, layer.w_o.to(flat), out=into[layer.heads].view(len(flat), -1, into.shape[-1]))


def put_mlp_writes(layer: Layer, x: Float[Tensor, "batch pos width"], into: Tensor) -> None:
    """What the MLP writes, or each of its neurons; the MLP's own bias is with the MLP, and with no neuron."""
    if not layer.split:
        into[layer.writers] = x
        return
    assert layer.mlp is not None
    torch.mul(x.movedim(-1, 0)[..., None], layer.mlp.outer.weight.to(x)[:, None, None], out=into[layer.writers])


def constants(layer: Layer) -> tuple[Tensor, Tensor | None]:
    """What no source writes: the bias of W_O, and that of an MLP which is split into neurons."""
    bias = layer.mlp.outer.bias if layer.split and layer.mlp is not None else None
    return layer.b_o, bias


def projected(
    maps: tuple[Float[Tensor, "d_model slot d_head"], Float[Tensor, "slot d_head"]],
    x: Float[Tensor, "slot *rows d_model"],
) -> Float[Tensor, "*rows slot d_head"]:
    """Queries, keys or values of slots that each read something of their own."""
    weight, bias = maps
    flat = torch.bmm(x.flatten(1, -2), weight.movedim(1, 0).to(x)) + bias.to(x)[:, None]
    return flat.view(*x.shape[:-1], -1).movedim(0, -2)


def inner_maps(layer: Layer) -> dict[str, LinearMap]:
    """Sites of the MLP's inner linear maps, which read the stream, and the maps."""
    assert layer.mlp is not None
    maps = {f"{layer.block}.mlp.pre": layer.mlp.inner}
    return maps if layer.mlp.linear is None else maps | {f"{layer.block}.mlp.pre_linear": layer.mlp.linear}
