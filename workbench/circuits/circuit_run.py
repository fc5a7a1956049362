"""What a model answers when only the edges of a circuit carry its clean activations.

Every edge that is not kept carries the other prompt's write of its source, computed in the other run; an edge that is
kept carries what its source writes in this run, which follows from what that source's own edges carried. All
edges kept is the clean run, none kept the other run.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.circuits.blocks import run_blocks
from workbench.circuits.split import (
    PARTS,
    Layer,
    Record,
    Wiring,
    constants,
    inner_maps,
    projected,
    put_head_writes,
    put_mlp_writes,
    write_sites,
)
from workbench.errors import BadInput
from workbench.hooks import Edit, Values, editing, reading


@torch.no_grad()
def run_circuit(
    wiring: Wiring,
    clean: Record,
    other: Float[Tensor, "source batch pos d_model"],
    kept: Bool[Tensor, "*circuit source slot"] | Float[Tensor, "*circuit source slot"],
    *,
    start: int = 0,
) -> Float[Tensor, "circuit_batch vocab"]:
    """Logits at the answer position with only `kept` edges clean: rows of the first circuit, then of the second.

    `kept` may also be the share, 0 to 1, that each edge has of the clean write. `start` is a block before which every
    edge is known to be kept: its prefix is taken from the clean run. Costs about two forward passes a circuit. Memory:
    circuits * (sources + slots of a block) * batch * pos * d_model numbers.
    """
    kept = kept[None] if kept.ndim == 2 else kept
    if tuple(kept.shape[1:]) != (wiring.n_sources, wiring.n_slots):
        raise BadInput(
            f"Kept edges have the axes (source, slot) = {(wiring.n_sources, wiring.n_slots)}, not"
            f" {tuple(kept.shape[1:])}."
        )
    exists = wiring.graph.exists.to(other.device)
    mask = kept.to(other) * exists
    run = (_PostNorm if wiring.post else _PreNorm)(wiring, clean, other, mask, start)
    for layer in wiring.layers[start:]:
        with run.reading_own(layer) as values:
            # The stream given here goes nowhere: every part of the block reads what `run` says.
            run_blocks(clean.calls, layer.number, run.filler, until=layer.number)
        run.after(layer, values)
    last = run.slot(-1)  # (circuit, batch, pos, d_model)
    return wiring.answers(last.flatten(0, 1), clean.position.repeat(len(mask)))


class _Run(ABC):
    """What a circuit's sources have written so far, and what its slots make of that."""

    def __init__(self, wiring: Wiring, clean: Record, other: Tensor, mask: Tensor, start: int) -> None:
        self.wiring, self.mask = wiring, mask
        self.n_circuits = len(mask)
        self.filler = clean.streams[start].repeat(self.n_circuits, 1, 1)
        self.values: Values

    @abstractmethod
    def inputs(self, slots: slice) -> Float[Tensor, "slot rows pos d_model"]:
        """What some slots read, before any norm of theirs."""

    @abstractmethod
    def wrote_heads(self, layer: Layer, z: Tensor) -> None:
        """Take note of what heads wrote."""

    @abstractmethod
    def wrote_mlp(self, layer: Layer, x: Tensor) -> None:
        """Take note of what the MLP wrote."""

    def slot(self, number: int) -> Float[Tensor, "circuit batch pos d_model"]:
        """What one slot reads."""
        number %= self.wiring.n_slots
        return self.inputs(slice(number, number + 1))[0].unflatten(0, (self.n_circuits, -1))

    @contextmanager
    def reading_own(self, layer: Layer) -> Iterator[Values]:
        """While a block runs, its parts read what this run says."""
        edits: dict[str, Edit] = {layer.site(part): self._attention_edit(layer, part) for part in PARTS}
        heads_noted: list[bool] = []
        if layer.mlp is not None:

            def inner(site: str) -> Edit:
                def edit(_value: Tensor) -> Tensor:
                    if not heads_noted and self.wiring.order != "parallel":
                        self.wrote_heads(layer, self.values[layer.site("z")])
                        heads_noted.append(True)
                    x = self.inputs(layer.slots["mlp"])[0]
                    x = x if self.wiring.post else layer.norm2(x)
                    return inner_maps(layer)[site](x)

                return edit

            edits |= {site: inner(site) for site in inner_maps(layer)}
        with editing(self.wiring.model, edits), reading(self.wiring.model, write_sites(layer)) as self.values:
            self._attention: Tensor | None = None
            yield self.values
        self._heads_noted = bool(heads_noted)

    def after(self, layer: Layer, values: Values) -> None:
        """Take note of what a block wrote."""
        if not self._heads_noted:
            self.wrote_heads(layer, values[layer.site("z")])
        if layer.mlp is not None:
            self.wrote_mlp(layer, values[write_sites(layer)[-1]])

    def _attention_edit(self, layer: Layer, part: str) -> Edit:
        def edit(_value: Tensor) -> Tensor:
            if self._attention is None:
                x = self.inputs(slice(layer.slots["q"].start, layer.slots["v"].stop))
                self._attention = x if self.wiring.post else layer.norm1(x)
            first, own = layer.slots["q"].start, layer.slots[part]
            return projected(layer.reads[part], self._attention[own.start - first : own.stop - first])

        return edit


class _PreNorm(_Run):
    """Slots read sums: the other run's stream, plus what kept sources write in place of their other writes."""

    def __init__(self, wiring: Wiring, clean: Record, other: Tensor, mask: Tensor, start: int) -> None:
        super().__init__(wiring, clean, other, mask, start)
        self.other = other
        known = 1 if start == 0 else wiring.layers[start - 1].writers.stop
        self.delta = other.new_zeros(wiring.n_sources, self.n_circuits, *other.shape[1:])
        self.delta[:known] = (clean.writes[:known] - other[:known])[:, None]
        self.base = other[:known].sum(0)
        for layer in wiring.layers[:start]:
            for bias in constants(layer):
                self.base = self.base if bias is None else self.base + bias.to(self.base)
        self.known = known

    def inputs(self, slots: slice) -> Tensor:
        n = self.known
        mask = self.mask[:, :n, slots].transpose(1, 2)  # (circuit, slot, source)
        delta = self.delta[:n].movedim(1, 0).flatten(2)  # (circuit, source, batch * pos * d_model)
        added = torch.bmm(mask, delta).unflatten(-1, self.base.shape)
        return (self.base + added).movedim(1, 0).flatten(1, 2)

    def wrote_heads(self, layer: Layer, z: Tensor) -> None:
        self._note(layer.heads, lambda into: put_head_writes(layer, z, into))
        self.base = self.base + constants(layer)[0].to(self.base)

    def wrote_mlp(self, layer: Layer, x: Tensor) -> None:
        self._note(layer.writers, lambda into: put_mlp_writes(layer, x, into))
        bias = constants(layer)[1]
        self.base = self.base if bias is None else self.base + bias.to(self.base)

    def _note(self, sources: slice, put: Callable[[Tensor], None]) -> None:
        put(self.delta.flatten(1, 2))
        self.delta[sources] -= self.other[sources][:, None]
        self.base = self.base + self.other[sources].sum(0)
        self.known = sources.stop


class _PostNorm(_Run):
    """Slots read norms of sums: the stream of every slot still to come is carried through each norm by itself."""

    def __init__(self, wiring: Wiring, clean: Record, other: Tensor, mask: Tensor, start: int) -> None:
        super().__init__(wiring, clean, other, mask, start)
        self.other, self.first = other, wiring.layers[start - 1].slots["mlp"].stop if start else 0
        self.streams = self._chosen(0, clean.writes[0][None], 0)
        if start:  # all before it is kept, so all slots have the clean stream
            self.streams = clean.streams[start].expand(wiring.n_slots - self.first, self.n_circuits, -1, -1, -1)

    def inputs(self, slots: slice) -> Tensor:
        return self.streams[slots.start - self.first : slots.stop - self.first].flatten(1, 2)

    def wrote_heads(self, layer: Layer, z: Tensor) -> None:
        self._add(layer, layer.heads, lambda into: put_head_writes(layer, z, into), constants(layer)[0], "norm1")

    def wrote_mlp(self, layer: Layer, x: Tensor) -> None:
        self._add(layer, layer.writers, lambda into: put_mlp_writes(layer, x, into), constants(layer)[1], "norm2")

    def _add(self, layer: Layer, sources: slice, put: Callable[[Tensor], None], bias: Tensor | None, norm: str) -> None:
        first = layer.slots["mlp"].start if norm == "norm1" else layer.slots["mlp"].stop
        self.streams, self.first = self.streams[first - self.first :], first
        shape = self.other.shape
        own = self.other.new_zeros(shape[0], self.n_circuits * shape[1], *shape[2:])
        put(own)
        for source in range(sources.start, sources.stop):
            self.streams = self.streams + self._chosen(source, own[source].unflatten(0, (self.n_circuits, -1)), first)
        self.streams = self.streams if bias is None else self.streams + bias.to(self.streams)
        self.streams = (layer.norm1 if norm == "norm1" else layer.norm2)(self.streams)

    def _chosen(self, source: int, own: Tensor, first: int) -> Tensor:
        """(slot, circuit, batch, pos, d_model): this run's write where the edge is kept, the other's where not."""
        mask = self.mask[:, source, first:].T[..., None, None, None]
        return torch.lerp(self.other[source].expand_as(own), own, mask)
