"""Circuit graphs for other tools: networkx, node-link JSON, GraphML.

Every edge of the graph is one edge from its source to what its slot is a part of, with the slot's letter on it; an
edge that reads for several nodes at once goes to the kv head (`a1.kv0`) or the split MLP (`m3`), from which edges of
the kind "part" lead on to each of these nodes. With positions every node stands once at each, as `a1.h0@2`, and edges
join nodes at the position where the slot reads; what attention carries on from there is no edge of the graph.
"""

import json
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.circuits.graph_data import CircuitGraph
from workbench.circuits.graph_json import PRECISIONS, filled, from_head, to_head
from workbench.circuits.graph_layout import HEAD, INPUT, LOGITS, MLP, K, Q, V
from workbench.errors import BadInput
from workbench.files import check_writable, write_atomically

if TYPE_CHECKING:
    import networkx

KINDS = {INPUT: "input", HEAD: "head", MLP: "mlp", LOGITS: "logits"}
LETTERS = {Q: "q", K: "k", V: "v"}
SIZES_AND_WORDS = "workbench-circuit"
"""Where the graph's sizes and words stand among its attributes, as JSON in a text, which GraphML can hold."""


def to_networkx(graph: CircuitGraph, *, all_edges: bool = False) -> "networkx.MultiDiGraph":
    """A directed graph with an edge for each kept edge, keyed by the slot's name."""
    import networkx

    made = networkx.MultiDiGraph()
    made.graph.update(_about(graph))
    made.add_nodes_from(_nodes(graph))
    for source, target, key, data in _edges(graph, all_edges):
        made.add_edge(source, target, key=key, **data)
    return made


def to_node_link(graph: CircuitGraph, *, all_edges: bool = False, edges: str = "edges") -> dict[str, Any]:
    """Nodes with an id, edges with a source and a target; `edges` is the key that these stand under."""
    if edges in ("directed", "multigraph", "graph", "nodes") or not edges:
        raise BadInput(f"Edges stand under a key of their own, 'edges' or 'links', not {edges!r}.")
    return {
        "directed": True,
        "multigraph": True,
        "graph": _about(graph),
        "nodes": [{**data, "id": name} for name, data in _nodes(graph)],
        edges: [{**data, "source": u, "target": v, "key": key} for u, v, key, data in _edges(graph, all_edges)],
    }


def from_node_link(data: Mapping[str, Any]) -> CircuitGraph:
    """The graph that such nodes and edges are of; edges that are gone are not kept."""
    about = data.get("graph")
    if not isinstance(about, dict) or SIZES_AND_WORDS not in about:
        raise BadInput(
            "it has nodes and edges without the sizes of the model, which to_node_link writes as"
            f" {SIZES_AND_WORDS!r} in its part graph."
        )
    head = json.loads(about[SIZES_AND_WORDS])
    graph = from_head(head)
    rows = [row for row in data["edges" if "edges" in data else "links"] if row["kind"] == "edge"]
    at = []
    for row in rows:
        source, behind, place = row["source"].partition("@")
        at.append(graph.edge(f"{source}->{row['slot']}{behind}{place}"))
    said = any("kept" in row for row in rows) or len(rows) < graph.n_edges
    kept = [row.get("kept", True) for row in rows] if said else None
    scores = [row.get("score") for row in rows] if any("score" in row for row in rows) else None
    return filled(graph, at, scores, kept, PRECISIONS[head["precision"]])


def to_graphml(graph: CircuitGraph, path: str | PathLike[str], *, all_edges: bool = False) -> Path:
    """Write that graph as GraphML. Characters that XML cannot hold are written as their number behind a backslash."""
    import networkx

    path = check_writable(path)
    made = to_networkx(graph, all_edges=all_edges)
    for data in (made.graph, *(d for _, d in made.nodes(data=True)), *(d for *_, d in made.edges(data=True))):
        data.update({name: _sayable(value) for name, value in data.items() if isinstance(value, str)})
    return write_atomically(path, "\n".join(networkx.generate_graphml(made)) + "\n")


def _about(graph: CircuitGraph) -> dict[str, Any]:
    counts = {"model": graph.model, "n_edges": graph.n_edges, "n_kept": graph.n_kept}
    return {**graph.about, **counts, SIZES_AND_WORDS: to_head(graph)}


def _nodes(graph: CircuitGraph) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node at every position, with those that only stand for a part that several nodes share."""
    group_of = {node: name for name, nodes in graph.groups.items() for node in nodes}
    kinds = [*graph.layout.source_kind.tolist(), LOGITS]
    layers = [*graph.source_layer.tolist(), graph.n_layers]
    rows = {name: (KINDS[kind], layer) for name, kind, layer in zip(graph.nodes, kinds, layers, strict=True)}
    for owner, kind, layer in zip(
        graph.layout.slot_owners, graph.layout.slot_kind.tolist(), graph.slot_layer.tolist(), strict=True
    ):
        rows.setdefault(owner, ("kv-head" if kind in LETTERS else "mlp", layer))
    for place, label in enumerate(graph.positions or [None]):
        for name, (kind, layer) in rows.items():
            data: dict[str, Any] = {"kind": kind, "layer": layer, "label": graph.labels.get(name, name)}
            if name in group_of:
                data["group"] = group_of[name]
            if name in graph.pinned:
                data["pinned"] = True
            if label is not None:
                data |= {"pos": place, "token": label}
            yield name if label is None else f"{name}@{place}", data


def _edges(graph: CircuitGraph, all_edges: bool) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    chosen = graph.edges if all_edges or graph.kept is None else graph.kept.nonzero().cpu()
    at = tuple(chosen.unbind(-1))
    scores = None if graph.scores is None else graph.scores.detach().cpu()[at].tolist()
    kept = None if graph.kept is None else graph.kept.cpu()[at].tolist()
    owners, kinds = graph.layout.slot_owners, graph.layout.slot_kind.tolist()
    for i, (*place, source, slot) in enumerate(chosen.tolist()):
        behind = "".join(f"@{p}" for p in place)
        data: dict[str, Any] = {"kind": "edge", "slot": graph.slot_names[slot]}
        if kinds[slot] in LETTERS:
            data["reads"] = LETTERS[kinds[slot]]
        if scores is not None and scores[i] == scores[i]:  # not NaN
            data["score"] = scores[i]
        if kept is not None:
            data["kept"] = kept[i]
        yield graph.sources[source] + behind, owners[slot] + behind, graph.slot_names[slot], data
    for slot in (graph.feeds.sum(-1) > 1).nonzero()[:, 0].tolist():
        if kinds[slot] == V:  # the keys' slot leads to the same heads
            continue
        for node in graph.feeds[slot].nonzero()[:, 0].tolist():
            for place in range(max(len(graph.positions), 1)):
                behind = f"@{place}" if graph.positions else ""
                yield owners[slot] + behind, graph.nodes[node] + behind, "part", {"kind": "part"}


def _sayable(text: str) -> str:
    return "".join(c if c in "\t\n" or c >= " " and not _outside_xml(ord(c)) else f"\\x{ord(c):02x}" for c in text)


def _outside_xml(code: int) -> bool:
    return 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF)
