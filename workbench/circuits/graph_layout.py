"""Which nodes, slots and edges a model of given sizes has, as arrays; one layout serves all graphs of its shape."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Slots = Literal["kv-head", "query-head"]
INPUT, HEAD, MLP, LOGITS = range(4)
"""Kinds of nodes; a neuron counts as an MLP."""
Q, K, V, INTO_MLP, INTO_LOGITS = range(5)
"""Kinds of slots."""
LETTERS = "qkv"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes, and all that follows from them. Heads of a layer do not feed each other; its MLP reads them if it can."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    mlps: bool = True
    parallel: bool = False
    shared: bool = False
    """Whether keys and values have a slot for each kv head, not for each query head."""
    neurons: tuple[int, ...] = ()
    n_neurons: int = 0

    @cached_property
    def _sources(self) -> list[tuple[int, int, int, str]]:
        """(kind, layer, head or neuron, name) of each source."""
        rows = [(INPUT, -1, 0, "input")]
        for i in range(self.n_layers):
            rows += [(HEAD, i, h, f"a{i}.h{h}") for h in range(self.n_heads)]
            if i in self.neurons:
                rows += [(MLP, i, n, f"m{i}.n{n}") for n in range(self.n_neurons)]
            elif self.mlps:
                rows.append((MLP, i, 0, f"m{i}"))
        return rows

    @cached_property
    def _slots(self) -> list[tuple[int, int, int, str]]:
        """(kind, layer, head or kv head, name) of each slot."""
        owner, n_keys = ("kv", self.n_kv_heads) if self.shared else ("h", self.n_heads)
        rows = []
        for i in range(self.n_layers):
            rows += [(Q, i, h, f"a{i}.h{h}<q>") for h in range(self.n_heads)]
            for kind in (K, V):
                rows += [(kind, i, g, f"a{i}.{owner}{g}<{LETTERS[kind]}>") for g in range(n_keys)]
            if self.mlps:
                rows.append((INTO_MLP, i, 0, f"m{i}"))
        return [*rows, (INTO_LOGITS, self.n_layers, 0, "logits")]

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """What writes to the stream, in the order in which it is computed."""
        return tuple(name for *_, name in self._sources)

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """What reads from the stream: in each layer queries, keys, values, MLP; the logits last."""
        return tuple(name for *_, name in self._slots)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """All sources, and the logits."""
        return (*self.sources, "logits")

    @cached_property
    def slot_owners(self) -> tuple[str, ...]:
        """What each slot is a part of: its node, or the kv head or whole MLP that several nodes share."""
        return tuple(name.partition("<")[0] for name in self.slots)

    @cached_property
    def source_kind(self) -> Int[Tensor, "source"]:
        """`INPUT`, `HEAD` or `MLP`."""
        return torch.tensor([kind for kind, *_ in self._sources])

    @cached_property
    def source_layer(self) -> Int[Tensor, "source"]:
        """The layer each source writes in; -1 for the input."""
        return torch.tensor([layer for _, layer, *_ in self._sources])

    @cached_property
    def slot_kind(self) -> Int[Tensor, "slot"]:
        """`Q`, `K`, `V`, `INTO_MLP` or `INTO_LOGITS`."""
        return torch.tensor([kind for kind, *_ in self._slots])

    @cached_property
    def slot_layer(self) -> Int[Tensor, "slot"]:
        """The layer each slot reads in; the number of layers for the logits."""
        return torch.tensor([layer for _, layer, *_ in self._slots])

    @cached_property
    def source_weight(self) -> Float[Tensor, "source"]:
        """The share of a whole node that each source is: 1, and 1 / n_neurons for a neuron."""
        split = torch.isin(self.source_layer, torch.tensor(self.neurons, dtype=torch.long)) & (self.source_kind == MLP)
        return torch.ones(len(split), dtype=torch.float64).masked_fill(split, 1 / max(self.n_neurons, 1))

    @cached_property
    def exists(self) -> Bool[Tensor, "source slot"]:
        """True where an edge is: earlier layers feed later ones, and in sequential blocks the heads their MLP."""
        writes, reads = self.source_layer[:, None], self.slot_layer
        found = writes < reads
        if not self.parallel:
            within = (self.source_kind == HEAD)[:, None] & (self.slot_kind == INTO_MLP)
            found |= within & (writes == reads)
        return found

    @cached_property
    def feeds(self) -> Bool[Tensor, "slot node"]:
        """True where what a slot reads goes into a node: several for a kv head and for an MLP split into neurons."""
        node_kind = torch.cat([self.source_kind, torch.tensor([LOGITS])])
        node_layer = torch.cat([self.source_layer, torch.tensor([self.n_layers])])
        node_head = torch.tensor([number for _, _, number, _ in self._sources] + [0])
        slot_head = torch.tensor([number for _, _, number, _ in self._slots])
        kinds = torch.tensor([HEAD, HEAD, HEAD, MLP, LOGITS])[self.slot_kind]
        same = (kinds[:, None] == node_kind) & (self.slot_layer[:, None] == node_layer)
        if self.shared:
            node_group = node_head // (self.n_heads // self.n_kv_heads)
            grouped = (self.slot_kind == K) | (self.slot_kind == V)
            reads_head = torch.where(
                grouped[:, None], slot_head[:, None] == node_group, slot_head[:, None] == node_head
            )
        else:
            reads_head = slot_head[:, None] == node_head
        return same & (reads_head | (kinds != HEAD)[:, None])


@lru_cache(maxsize=16)
def layout(**sizes) -> Layout:
    """The layout of these sizes, made once."""
    return Layout(**sizes)
