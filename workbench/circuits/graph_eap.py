"""Circuit graphs in the form that EAP-IG writes and reads: sizes, nodes, and every edge by its name.

    {"cfg": {"n_layers": 12, "n_heads": 12, "d_model": 768, "parallel_attn_mlp": false},
     "nodes": {"a0.h0": {"in_graph": true}, ...}, "edges": {"input->a0.h0<q>": {"score": 0.1, "in_graph": true}, ...}}

That form has keys and values of their own for each query head, and knows no positions and no split MLPs. Its nodes
may name dimensions of the stream that are left out of what they write; such a circuit cannot be said in ours.
"""

from collections.abc import Mapping
from typing import Any

import torch

from workbench.circuits.graph_data import CircuitGraph
from workbench.circuits.graph_json import filled, plain_numbers
from workbench.errors import BadInput


def to_eap(graph: CircuitGraph) -> dict[str, Any]:
    """The graph in that form. Edges without a score have 0; without kept edges, all are in the graph."""
    if graph.slots == "kv-head" and graph.n_kv_heads < graph.n_heads:
        raise BadInput(
            "EAP-IG's form has keys and values for each query head, and this graph one slot for all heads that share"
            ' them; find the circuit with slots="query-head" to hand it on.'
        )
    if graph.positions or graph.neurons:
        raise BadInput("EAP-IG's form has neither positions nor neurons of MLPs; find the circuit without them.")
    kept = graph.exists if graph.kept is None else graph.kept.cpu()
    at = tuple(graph.edges.unbind(-1))
    scores = torch.zeros(len(graph.edges)) if graph.scores is None else graph.scores.detach().cpu()[at]
    rows = zip(graph.edge_names, plain_numbers(scores), kept[at].tolist(), strict=True)
    used = kept.any(-1).tolist()
    cfg = {"n_layers": graph.n_layers, "n_heads": graph.n_heads, "parallel_attn_mlp": graph.parallel}
    if graph.d_model:
        cfg["d_model"] = graph.d_model
    return {
        "cfg": cfg,
        "nodes": {name: {"in_graph": yes} for name, yes in zip(graph.nodes, [*used, True], strict=True)},
        "edges": {name: {"score": score or 0.0, "in_graph": yes} for name, score, yes in rows},
    }


def from_eap(data: Mapping[str, Any]) -> CircuitGraph:
    """A graph from that form, with scores and kept edges; it tells no name of a model."""
    cfg, nodes, edges = data["cfg"], data["nodes"], data["edges"]
    partial = [name for name, node in nodes.items() if isinstance(node, dict) and not all(node.get("neurons", [True]))]
    if partial:
        raise BadInput(
            f"{len(partial)} of its nodes ({partial[0]} first) write only some dimensions of the stream, and a graph"
            " here keeps whole edges."
        )
    parallel = cfg.get("parallel_attn_mlp", False)
    if not isinstance(parallel, bool):
        raise BadInput(f"parallel_attn_mlp is true or false, not {parallel!r}.")
    graph = CircuitGraph(
        n_layers=cfg["n_layers"],
        n_heads=cfg["n_heads"],
        n_kv_heads=cfg["n_heads"],
        mlps="m0" in nodes,
        parallel=parallel,
        d_model=cfg.get("d_model", 0),
        about={"from": "EAP-IG"},
    )
    at = [graph.edge(name) for name in edges]
    return filled(graph, at, [edge["score"] for edge in edges.values()], [edge["in_graph"] for edge in edges.values()])
