"""Circuit graphs in the form that viewers of attribution graphs read: metadata, qParams, nodes and links.

The form is that of circuit-tracer's files and of Neuronpedia's graph schema. It has one link between two nodes: the
scores of a head's queries, keys and values are summed in it, and one that several heads share is divided evenly.
"""

from collections import defaultdict
from typing import Any

from workbench.circuits.graph_data import CircuitGraph


def attribution_graph(graph: CircuitGraph, *, slug: str = "circuit", prompt: str = "") -> dict[str, Any]:
    """The kept edges (all where nothing is said) and the nodes they join. Edges without a score weigh 1 where none has.

    Labels are the nodes' `clerp`, pins the pinned nodes, and groups of two or more nodes supernodes.
    """
    frame_edges = graph.edges if graph.kept is None else graph.kept.nonzero().cpu()
    scores = None if graph.scores is None else graph.scores.detach().cpu()[tuple(frame_edges.unbind(-1))].tolist()
    fed = [row.nonzero()[:, 0].tolist() for row in graph.feeds]
    weights: dict[tuple[int, int, int], float] = defaultdict(float)
    for i, (*place, source, slot) in enumerate(frame_edges.tolist()):
        score = 1.0 if scores is None else scores[i]
        for node in fed[slot]:
            weights[place[0] if place else 0, source, node] += (0.0 if score != score else score) / len(fed[slot])
    joined = sorted({(place, node) for place, *ends in weights for node in ends})
    node_layer = [*graph.source_layer.tolist(), graph.n_layers + 1]
    ids = {(place, node): _id(node_layer[node], node, place) for place, node in joined}
    names = {graph.node_index(name): label for name, label in graph.labels.items()}

    def with_ids(wanted: tuple[str, ...]) -> list[str]:
        numbers = {graph.node_index(name) for name in wanted}
        return [name for (_, node), name in ids.items() if node in numbers]

    groups = {name: with_ids(nodes) for name, nodes in graph.groups.items()}
    return {
        "metadata": {
            "slug": slug,
            "scan": graph.model,
            "transcoder_list": [],
            "prompt_tokens": list(graph.positions) or [prompt],
            "prompt": prompt or "".join(graph.positions),
            "schema_version": 1,
            "info": {"description": ", ".join(f"{key}: {value}" for key, value in graph.about.items())},
        },
        "qParams": {
            "linkType": "both",
            "pinnedIds": with_ids(graph.pinned),
            "clickedId": "",
            "supernodes": [[name, *members] for name, members in groups.items() if len(members) > 1],
            "sg_pos": "",
        },
        "nodes": [
            {
                "node_id": ids[place, node],
                "feature": node,
                "layer": ids[place, node].partition("_")[0],
                "ctx_idx": place,
                "feature_type": _type(node_layer[node], graph.n_layers),
                "token_prob": 0.0,
                "is_target_logit": node_layer[node] > graph.n_layers,
                "run_idx": 0,
                "reverse_ctx_idx": 0,
                "jsNodeId": f"{ids[place, node].rpartition('_')[0]}-{place}",
                "clerp": names.get(node, graph.nodes[node]),
                "influence": None,
                "activation": None,
            }
            for place, node in joined
        ],
        "links": [
            {"source": ids[place, source], "target": ids[place, node], "weight": weight}
            for (place, source, node), weight in weights.items()
        ],
    }


def _id(layer: int, node: int, place: int) -> str:
    return f"{'E' if layer < 0 else layer}_{node}_{place}"


def _type(layer: int, n_layers: int) -> str:
    """The viewers' own words: what they draw as a row of inputs, a feature or an answer."""
    return "embedding" if layer < 0 else "logit" if layer > n_layers else "cross layer transcoder"
