"""One direct path at a time: what receivers make of a changed write while all other nodes hold still, and what follows.

Rows are senders: each has its own change of the stream, and all of them go through the model together.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.circuits.blocks import run_blocks
from workbench.circuits.graph_data import CircuitGraph
from workbench.circuits.split import PARTS, Layer, Record, Wiring, constants, projected
from workbench.errors import BadInput, UnknownName
from workbench.hooks import Edit, editing


@dataclass(frozen=True, eq=False, kw_only=True)
class Senders:
    """Some sources, and how their writes change; a row each."""

    layers: Int[Tensor, "row"]
    """Layer of each; -1 for the input."""
    mlps: Bool[Tensor, "row"]
    """Which of them are MLPs."""
    paths: Bool[Tensor, "row slot"]
    """Which slots each reaches directly, among the receivers."""
    delta: Float[Tensor, "row pos d_model"]


def receiving(graph: CircuitGraph, names: Sequence[str]) -> tuple[int, ...]:
    """The slots that receivers name: slots such as "a5.h3<q>" and "logits", or nodes, whose slots they then all are."""
    found: list[int] = []
    for name in names:
        if name in graph.slot_names:
            found.append(graph.slot_index(name))
        elif name in graph.nodes and name != "input":
            found += graph.feeds[:, graph.node_index(name)].nonzero().flatten().tolist()
        else:
            _check_grouped(graph, name)
            raise UnknownName("receiver", name, {*graph.slot_names, *graph.nodes[1:]})
    if not found:
        raise BadInput("Name at least one receiver: 'logits', a head such as 'a1.h0', or a slot of it, 'a1.h0<q>'.")
    return tuple(dict.fromkeys(found))


def _check_grouped(graph: CircuitGraph, name: str) -> None:
    """A sentence for keys or values of one head, where a group of heads shares them."""
    asked = re.fullmatch(r"a(\d+)\.h(\d+)<([kv])>", name)
    if asked and int(asked[2]) < graph.n_heads:
        slot = f"a{int(asked[1])}.kv{int(asked[2]) * graph.n_kv_heads // graph.n_heads}<{asked[3]}>"
        if slot in graph.slot_names:
            raise BadInput(
                f"{name!r} is no receiver by itself: {graph.n_heads // graph.n_kv_heads} query heads of this model"
                f" share keys and values. Those that a{asked[1]}.h{asked[2]} reads with are {slot!r}."
            )


@torch.no_grad()
def path_answers(
    wiring: Wiring, base: Record, senders: Senders, slots: Sequence[int], *, through_mlps: bool
) -> Float[Tensor, "row vocab"]:
    """Answers of one run a sender, in which the receivers read what they would if that sender alone had changed."""
    streams = _Streams(wiring, base, senders, through_mlps=through_mlps)
    edits: dict[str, Edit] = {}
    first = len(wiring.layers)
    for layer in wiring.layers:
        streams.enter(layer)
        for part in PARTS:
            if own := [slot for slot in slots if slot in _range(layer.slots[part])]:
                first = min(first, layer.number)
                edits[layer.site(part)] = _set(_read(wiring, layer, part, own, streams), own, layer.slots[part].start)
        streams.attended(layer)
        if layer.mlp is not None and layer.slots["mlp"].start in slots:
            first = min(first, layer.number)
            x = streams.of([layer.slots["mlp"].start])[0]
            edits[f"{layer.block}.mlp_out"] = _whole(layer.mlp(x if wiring.post else layer.norm2(x)))
        streams.leave(layer)
    last = base.streams[first].expand(len(senders.delta), *base.streams[first].shape[1:])
    if edits:
        with editing(wiring.model, edits):
            last = run_blocks(base.calls, first, last)
    place = int(base.position[0])
    end = wiring.n_slots - 1
    state = last[:, place]
    if end in slots:
        state = state + (streams.of([end])[0] - base.streams[-1])[:, place]
    return wiring.logits(state)


class _Streams:
    """The base run's stream with the change of each sender carried along, all other nodes' writes held."""

    def __init__(self, wiring: Wiring, base: Record, senders: Senders, *, through_mlps: bool) -> None:
        self.wiring, self.base, self.senders, self.live = wiring, base, senders, through_mlps
        rows = len(senders.delta)
        self.held = base.streams[0]
        """What slots read in the base run at this point."""
        self.stream = self.held.expand(rows, *self.held.shape[1:])
        self._add(senders.layers < 0)

    def of(self, slots: Sequence[int]) -> Float[Tensor, "slot row pos d_model"]:
        """What slots read; senders without a direct path to one leave it as it was."""
        reached = self.senders.paths[:, list(slots)].T[..., None, None]
        return torch.where(reached, self.stream, self.held.to(self.stream))

    def enter(self, layer: Layer) -> None:
        """Come to a block."""
        self.before = (self.stream, self.held)

    def attended(self, layer: Layer) -> None:
        """Pass its attention, so that `of` says what its MLP reads."""
        writes = self.base.writes[layer.heads].sum(0) + constants(layer)[0].to(self.held)
        self.stream, self.held = self.stream + writes, self.held + writes
        own = (self.senders.layers == layer.number) & ~self.senders.mlps
        if self.wiring.order == "parallel":
            self.behind = (self.stream, self.held)
            self.stream, self.held = self.before
            self.waiting = own
            return
        self._add(own)
        if self.wiring.post:
            self.stream, self.held = layer.norm1(self.stream), layer.norm1(self.held)

    def leave(self, layer: Layer) -> None:
        """Pass its MLP."""
        written: Tensor | float = 0.0
        live: Tensor | float = 0.0
        if layer.mlp is not None:
            written = self.base.writes[layer.writers].sum(0)
            live = written
            if self.live:
                live = layer.mlp(self.stream if self.wiring.post else layer.norm2(self.stream))
        if self.wiring.order == "parallel":
            self.stream, self.held = self.behind
            self._add(self.waiting)
        self.stream, self.held = self.stream + live, self.held + written
        self._add((self.senders.layers == layer.number) & self.senders.mlps)
        if self.wiring.post and layer.mlp is not None:
            self.stream, self.held = layer.norm2(self.stream), layer.norm2(self.held)

    def _add(self, rows: Bool[Tensor, "row"]) -> None:
        self.stream = self.stream + self.senders.delta * rows[:, None, None]


def _read(wiring: Wiring, layer: Layer, part: str, slots: Sequence[int], streams: _Streams) -> Tensor:
    """Queries, keys or values of some slots: (row, pos, slot, d_head)."""
    x = streams.of(slots)
    weight, bias = layer.reads[part]
    own = [slot - layer.slots[part].start for slot in slots]
    return projected((weight[:, own], bias[own]), x if wiring.post else layer.norm1(x))


def _set(new: Tensor, slots: Sequence[int], start: int) -> Edit:
    def edit(value: Tensor) -> Tensor:
        value = value.clone()
        value[:, :, [slot - start for slot in slots]] = new.to(value)
        return value

    return edit


def _whole(new: Tensor) -> Edit:
    return lambda value: new.to(value)


def _range(places: slice) -> range:
    return range(places.start, places.stop)


def senders_of(
    graph: CircuitGraph, sources: Sequence[int], slots: Sequence[int], delta: Float[Tensor, "row pos d_model"]
) -> Senders:
    """Senders by their place among the sources, with the paths they have into the receivers."""
    paths = torch.zeros(len(sources), len(graph.slot_names), dtype=torch.bool)
    paths[:, list(slots)] = graph.exists.cpu()[list(sources)][:, list(slots)]
    names = [graph.sources[i] for i in sources]
    layers = graph.source_layer.cpu()[list(sources)]
    return Senders(
        layers=layers.to(delta.device),
        mlps=torch.tensor([name.startswith("m") for name in names], device=delta.device),
        paths=paths.to(delta.device),
        delta=delta,
    )
