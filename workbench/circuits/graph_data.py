"""The circuit graph: what writes to the residual stream, what reads from it, and scores of the edges between.

    graph = circuit_graph(n_layers=12, n_heads=12)       # 32,491 edges
    graph = graph.with_(scores=scores)                   # one tensor, (source, slot)
    graph.with_(kept=functional.top_edges(graph.scores, graph.exists, 200)).save("circuit.json")

A node is `input`, a head `a3.h1`, an MLP `m3` (or a neuron `m3.n7` of it) or `logits`. Every node but the logits is a
source: it writes. A slot is one thing that reads: `a3.h1<q>`, `a3.h1<k>`, `a3.h1<v>` (`a3.kv0<k>` where query heads
share their keys), `m3`, `logits`. An edge is a source and a slot that reads after it wrote: `a0.h1->a3.h1<q>`, with
`@2` behind it at position 2 of a graph with positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.circuits.graph_checks import check_sizes, check_words
from workbench.circuits.graph_layout import Layout, Slots, layout
from workbench.errors import BadInput, UnknownName

if TYPE_CHECKING:
    import networkx
    import pandas as pd

    from workbench.models.lens_model import LensModel


@dataclass(frozen=True, eq=False, kw_only=True)
class CircuitGraph:
    """A model as nodes and edges, with a score for each edge and the edges that are kept; both may be absent."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    mlps: bool = True
    """Whether blocks have an MLP."""
    parallel: bool = False
    """Whether the MLP of a block reads what the attention of the same block reads, so that heads do not feed it."""
    slots: Slots = "query-head"
    """Whether each query head has keys and values of its own, or each kv head once for all that share it."""
    neurons: tuple[int, ...] = ()
    """Layers whose MLP writes neuron by neuron."""
    n_neurons: int = 0
    d_model: int = 0
    """Width of the stream; 0 where it is not known."""
    order: str = ""
    """Where blocks have their norms: "pre", "post" or "parallel", as the model's architecture says; "" if not known."""
    positions: tuple[str, ...] = ()
    """Labels of the positions, where edges are told apart by position."""
    scores: Float[Tensor, "*pos source slot"] | None = None
    """By how much the metric drops without an edge: positive helps. NaN where there is no edge, or no score for it."""
    kept: Bool[Tensor, "*pos source slot"] | None = None
    """The edges of the circuit."""
    model: str = ""
    """Name of the model it is of."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What nodes are called by those who look at them. Data: shown as text, never as markup."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Nodes drawn as one, by the name of the group."""
    pinned: tuple[str, ...] = ()
    """Nodes that are to stay in sight."""
    about: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Where it comes from: task, metric, method."""

    def __post_init__(self) -> None:
        """Check everything once, and blank scores where there is no edge."""
        check_sizes(self)
        for name in ("neurons", "positions", "pinned"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "labels", dict(self.labels))
        object.__setattr__(self, "groups", {k: tuple(v) for k, v in self.groups.items()})
        object.__setattr__(self, "about", dict(self.about))
        check_words(self)
        for name in {*self.labels, *self.pinned, *(node for group in self.groups.values() for node in group)}:
            self.node_index(name)
        if self.scores is not None:
            self._check_shape("Scores", self.scores)
            blank = self.scores.masked_fill(~self.exists.to(self.scores.device), torch.nan)
            if bool(blank.isinf().any()):
                raise BadInput("Scores of edges are finite, or NaN where an edge has none; some here are infinite.")
            object.__setattr__(self, "scores", blank)
        if self.kept is not None:
            self._check_shape("Kept edges", self.kept)
            if self.kept.dtype != torch.bool:
                raise BadInput(f"Kept edges are true or false, not {str(self.kept.dtype).removeprefix('torch.')}.")
            outside = self.kept & ~self.exists.to(self.kept.device)
            if bool(outside.any()):
                source, slot = outside.nonzero()[0, -2:].tolist()
                raise BadInput(f"An edge is kept that this graph does not have: {self.no_edge(source, slot)}")

    # ---- what there is ---------------------------------------------------------------------------------------------

    @cached_property
    def layout(self) -> Layout:
        """Nodes, slots and edges as arrays."""
        return layout(
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            mlps=self.mlps,
            parallel=self.parallel,
            shared=self.slots == "kv-head" and self.n_kv_heads < self.n_heads,
            neurons=self.neurons,
            n_neurons=self.n_neurons if self.neurons else 0,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of what writes: input, then in each layer the heads and the MLP or its neurons."""
        return self.layout.sources

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of what reads: in each layer the queries, keys, values and the MLP; the logits last."""
        return self.layout.slots

    @property
    def nodes(self) -> tuple[str, ...]:
        """The sources, and the logits."""
        return self.layout.nodes

    @property
    def exists(self) -> Bool[Tensor, "source slot"]:
        """True where there is an edge, at every position. Shared by all graphs of this shape: do not change it."""
        return self.layout.exists

    @property
    def source_layer(self) -> Int[Tensor, "source"]:
        """The layer each source writes in; -1 for the input."""
        return self.layout.source_layer

    @property
    def slot_layer(self) -> Int[Tensor, "slot"]:
        """The layer each slot reads in; the number of layers for the logits."""
        return self.layout.slot_layer

    @property
    def feeds(self) -> Bool[Tensor, "slot node"]:
        """True where what a slot reads goes into a node; a kv head's go into all the heads that share it."""
        return self.layout.feeds

    @property
    def slot_node(self) -> Int[Tensor, "slot"]:
        """The node each slot belongs to, as an index into `nodes`; where several share it (`feeds`), the first."""
        return self.layout.feeds.to(torch.uint8).argmax(-1)

    @property
    def source_weight(self) -> Float[Tensor, "source"]:
        """The share of a whole node that each source is: 1, and 1 / n_neurons for a neuron."""
        return self.layout.source_weight

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of `scores` and `kept`: (source, slot), with the position before them where there are positions."""
        return (*([len(self.positions)] if self.positions else []), *self.exists.shape)

    @cached_property
    def n_edges(self) -> int:
        """How many edges there are, at all positions together."""
        return int(self.exists.sum()) * max(len(self.positions), 1)

    @property
    def n_kept(self) -> int:
        """How many of them are kept; all where nothing is said."""
        return self.n_edges if self.kept is None else int(self.kept.sum())

    @property
    def n_unscored(self) -> int:
        """How many edges have no score."""
        return self.n_edges if self.scores is None else self.n_edges - int((~self.scores.isnan()).sum())

    # ---- names -----------------------------------------------------------------------------------------------------

    def node_index(self, name: str) -> int:
        """Where a node stands in `nodes`; sources have the same place in `sources`."""
        return self._found(self._node_places, "node", name)

    def source_index(self, name: str) -> int:
        """Where a source stands in `sources`."""
        if name == "logits":
            raise BadInput("The logits read and do not write: they are no source.")
        return self.node_index(name)

    def slot_index(self, name: str) -> int:
        """Where a slot stands in `slot_names`."""
        return self._found(self._slot_places, "slot", name)

    def edge(self, name: str) -> tuple[int, ...]:
        """(source, slot) of "a0.h1->a1.h0<q>"; (position, source, slot) of "a0.h1->a1.h0<q>@2" with positions."""
        ends, at, place = str(name).partition("@")
        source, arrow, slot = ends.partition("->")
        if not arrow or bool(at) != bool(self.positions):
            form = "a0.h1->m1@2, with the number of a position behind it" if self.positions else "a0.h1->m1"
            raise BadInput(f"Edges of this graph are written like {form}; {name!r} is not.")
        pair = self.source_index(source), self.slot_index(slot)
        if not self.exists[pair]:
            raise BadInput(self.no_edge(*pair))
        if not self.positions:
            return pair
        if not (place.isdecimal() and int(place) < len(self.positions)):
            raise BadInput(f"{name!r} names no position: they are counted from 0 to {len(self.positions) - 1}.")
        return int(place), *pair

    def edge_name(self, *index: int) -> str:
        """The name of an edge, by the numbers that `edge` gives."""
        *at, source, slot = index
        return f"{self.sources[source]}->{self.slot_names[slot]}" + "".join(f"@{place}" for place in at)

    @cached_property
    def edges(self) -> Int[Tensor, "edge axes"]:
        """All edges as numbers, (source, slot) or (position, source, slot), by source and then by slot."""
        return self.exists.expand(self.shape).nonzero()

    @cached_property
    def edge_names(self) -> tuple[str, ...]:
        """The names of all edges, in the order of `edges`."""
        return self._names(self.edges)

    def kept_edges(self) -> tuple[str, ...]:
        """The names of the edges that are kept, in the order of `edges`; of all where nothing is said."""
        return self.edge_names if self.kept is None else self._names(self.kept.nonzero())

    def _names(self, edges: Tensor) -> tuple[str, ...]:
        sources, slots = self.sources, self.slot_names
        if not self.positions:
            return tuple(f"{sources[s]}->{slots[t]}" for s, t in edges.tolist())
        return tuple(f"{sources[s]}->{slots[t]}@{p}" for p, s, t in edges.tolist())

    def no_edge(self, source: int, slot: int) -> str:
        """Why a source does not feed a slot, as a sentence."""
        writes, reads = int(self.source_layer[source]), int(self.slot_layer[slot])
        after = "after all layers" if reads == self.n_layers else f"in layer {reads}"
        why = " side by side with it" if writes == reads else ""
        return (
            f"there is no edge {self.edge_name(source, slot)}: {self.sources[source]} writes in layer {writes}, and"
            f" {self.slot_names[slot]} reads {after}{why}."
        )

    def _found(self, places: dict[str, int], what: str, name: str) -> int:
        if name in places:
            return places[name]
        names = list(places)
        some = ", ".join(names if len(names) <= 12 else [*names[:6], "...", *names[-3:]])
        raise BadInput(f"This graph has no {what} {name!r}. It has {some}.")

    @cached_property
    def _node_places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.nodes)}

    @cached_property
    def _slot_places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.slot_names)}

    # ---- copies and tables -----------------------------------------------------------------------------------------

    def with_(self, **changes: Any) -> "CircuitGraph":
        """A copy with other scores, kept edges, labels, groups, pins or words about it."""
        if unknown := set(changes) - {f.name for f in fields(self)}:
            raise UnknownName("field of a circuit graph", min(unknown), [f.name for f in fields(self)])
        return replace(self, **changes)

    def to_frame(self, *, all_edges: bool = False) -> "pd.DataFrame":
        """One row for each kept edge (or each edge): its source, slot, position, score, and whether it is kept."""
        import pandas as pd

        edges = self.edges if all_edges or self.kept is None else self.kept.nonzero().cpu()
        *places, source, slot = edges.unbind(-1)
        at = tuple(edges.unbind(-1))
        columns: dict[str, Any] = {
            "source": [self.sources[s] for s in source.tolist()],
            "slot": [self.slot_names[t] for t in slot.tolist()],
        }
        if places:
            columns["pos"] = places[0].numpy()
        columns["score"] = torch.nan if self.scores is None else self.scores.detach().cpu()[at].numpy()
        columns["kept"] = True if self.kept is None else self.kept.cpu()[at].numpy()
        return pd.DataFrame(columns)

    def check_for(self, model: "LensModel") -> None:
        """Refuse a model whose sizes are not those of this graph, saying both."""
        from workbench.circuits.graph import sizes_of

        own = sizes_of(model)
        sizes = {"layers": (self.n_layers, own["n_layers"]), "heads": (self.n_heads, own["n_heads"])}
        if self.layout.shared:
            sizes["key and value heads"] = (self.n_kv_heads, own["n_kv_heads"])
        if self.d_model:
            sizes["dimensions"] = (self.d_model, own["d_model"])
        if wrong := [f"{mine} {name}, not {its}" for name, (mine, its) in sizes.items() if mine != its]:
            whose = f" of {self.model}" if self.model else ""
            raise BadInput(f"This graph{whose} does not fit {model.name}: it has {'; '.join(wrong)}.")
        if self.order and self.order != own["order"] and "parallel" not in (self.order, own["order"]):
            raise BadInput(
                f"This graph does not fit {model.name}: its blocks have their norms in the order {self.order!r}, and"
                f" the model's {own['order']!r}."
            )
        for name, yes, no in (
            ("mlps", "has MLPs", "has no MLPs"),
            ("parallel", "has attention and MLP side by side", "has the MLP behind attention"),
        ):
            if getattr(self, name) != own[name]:
                mine, its = (yes, no) if getattr(self, name) else (no, yes)
                raise BadInput(f"This graph does not fit {model.name}: it {mine}, and the model {its}.")

    def _check_shape(self, what: str, x: Tensor) -> None:
        if tuple(x.shape) != self.shape:
            axes = "(pos, source, slot)" if self.positions else "(source, slot)"
            raise BadInput(f"{what} have the axes {axes} = {self.shape}; these have the shape {tuple(x.shape)}.")

    # ---- files and other forms -------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """All of it as text that `from_json` reads: scored and kept edges by name, labels, groups, pins."""
        from workbench.circuits.graph_json import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str | bytes) -> "CircuitGraph":
        """A graph from what `to_json`, `to_eap` or `to_node_link` gave; a `BadFile` says what is wrong with others."""
        from workbench.circuits.graph_json import from_json

        return from_json(text)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write `to_json` to a file, whole or not at all."""
        from workbench.files import write_atomically

        return write_atomically(path, self.to_json())

    @staticmethod
    def load(path: str | PathLike[str]) -> "CircuitGraph":
        """Read what `save` wrote, or a file in EAP-IG's form or with what `to_node_link` gave."""
        from workbench.circuits.graph_json import load

        return load(path)

    def to_networkx(self, *, all_edges: bool = False) -> "networkx.MultiDiGraph":
        """As a networkx graph of the kept edges (all where nothing is said), with slots, scores and positions."""
        from workbench.circuits.graph_networks import to_networkx

        return to_networkx(self, all_edges=all_edges)

    def to_node_link(self, *, all_edges: bool = False, edges: str = "edges") -> dict[str, Any]:
        """As nodes and edges that `networkx.node_link_graph` reads from 3.6 on, and `from_json` reads back.

        Scores of edges that are not kept are in it with `all_edges` alone. D3, and networkx before 3.6, look for edges
        under another key: `edges="links"`.
        """
        from workbench.circuits.graph_networks import to_node_link

        return to_node_link(self, all_edges=all_edges, edges=edges)

    def to_graphml(self, path: str | PathLike[str], *, all_edges: bool = False) -> Path:
        """Write a GraphML file, which Gephi, yEd, Cytoscape and networkx read."""
        from workbench.circuits.graph_networks import to_graphml

        return to_graphml(self, path, all_edges=all_edges)

    def to_eap(self) -> dict[str, Any]:
        """As the nodes and edges that EAP-IG writes; `from_json` reads them back."""
        from workbench.circuits.graph_eap import to_eap

        return to_eap(self)

    def to_attribution_graph(self, *, slug: str = "circuit", prompt: str = "") -> dict[str, Any]:
        """As the nodes, links, metadata and qParams that circuit-tracer's and Neuronpedia's viewers read."""
        from workbench.circuits.attribution_graph import attribution_graph

        return attribution_graph(self, slug=slug, prompt=prompt)

    def __repr__(self) -> str:
        of = f" of {self.model}" if self.model else ""
        kept = "" if self.kept is None else f", {self.n_kept:,} kept"
        return f"<CircuitGraph{of}: {len(self.nodes):,} nodes, {self.n_edges:,} edges{kept}>"
