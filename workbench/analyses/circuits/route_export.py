"""A route for other programs: a networkx graph, JSON, GraphML; and the marks and lines that a picture draws.

Nodes are named as in the paper's tool: X0_t the token at position t, A{l}_t the stream after attention of block l,
M{l}_t its MLP, I{l}_t the stream that leaves it. Blocks with one sum have no A.
"""

import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BadInput
from workbench.files import check_writable, write_atomically

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from workbench.analyses.circuits.route_result import Routes

FORMAT = "workbench-routes"
VERSION = 1


def state_node(state: int, position: int) -> str:
    """The name of the stream before the first block (state 0) or after block state - 1."""
    return f"I{state - 1}_{position}" if state else f"X0_{position}"


def ends(routes: "Routes", kind: str, layer: int, query: int, key: int) -> list[tuple[str, str]]:
    """(from, to) of each line that a part is drawn as: one, but for an MLP what it reads and what it writes."""
    below, above = state_node(layer, key), state_node(layer + 1, query)
    middle = f"A{layer}_{query}" if routes.residual_mlp is not None else above
    if kind in ("attention", "residual"):
        return [(below, middle)]
    if kind == "mlp":
        return [
            (middle if routes.residual_mlp is not None else below, f"M{layer}_{query}"),
            (f"M{layer}_{query}", above),
        ]
    return [(middle, above)]


def to_networkx(routes: "Routes", threshold: float | None = None) -> "nx.MultiDiGraph":
    """See `Routes.to_networkx`: information runs along the edges, and each head's look is an edge of its own."""
    import networkx as nx

    threshold = routes.threshold if threshold is None else threshold
    graph = nx.MultiDiGraph(
        position=routes.position, answer=routes.answer or "", threshold=threshold, norm=routes.norm,
        renormalised=routes.renormalise, model=str(routes.meta.get("model", "")),
    )  # fmt: skip
    rows = routes.route(threshold)
    for kind, layer, query, key, head, contribution, share in rows.itertuples(index=False):
        if kind == "bias":
            continue
        for start, end in ends(routes, kind, layer, query, key):
            name = f"a{layer}.h{head}" if head >= 0 else kind
            graph.add_edge(
                start, end, key=name, kind=kind, layer=int(layer), head=int(head),
                contribution=float(contribution), share=float(share),
            )  # fmt: skip
    for node in graph.nodes:
        kind, layer, position = _parsed(node)
        graph.nodes[node].update(kind=kind, layer=layer, position=position, token=routes.tokens[position])
    for _, layer, query, _, _, contribution, _ in rows.query("kind == 'bias'").itertuples(index=False):
        node = ends(routes, "residual", layer, query, query)[0][1]
        if node in graph:
            graph.nodes[node]["bias"] = float(contribution)
    return graph


def to_json(routes: "Routes", threshold: float | None = None) -> str:
    """See `Routes.to_json`."""
    graph = to_networkx(routes, threshold)
    data = {
        "format": FORMAT,
        "version": VERSION,
        **graph.graph,
        "tokens": list(routes.tokens),
        "nodes": [{"id": node, **values} for node, values in graph.nodes.items()],
        "links": [
            {"source": a, "target": b, "name": key, **values} for a, b, key, values in graph.edges.data(keys=True)
        ],
    }
    return json.dumps(data, allow_nan=False)


def to_node_link(routes: "Routes", threshold: float | None = None) -> dict[str, Any]:
    """See `Routes.to_node_link`."""
    import networkx as nx

    return nx.node_link_data(to_networkx(routes, threshold), edges="links")


def from_json(text: str) -> "nx.MultiDiGraph":
    """The graph that `to_json` wrote."""
    import networkx as nx

    try:
        data = json.loads(text)
    except ValueError as error:
        raise BadInput(f"This is no route as Routes.to_json writes it: it is no JSON ({error}).") from None
    if not isinstance(data, dict):
        raise BadInput("This is no route as Routes.to_json writes it: it is no object.")
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise BadInput(f"This is no route as Routes.to_json writes it: it says {data.get('format')!r}.")
    known = ("format", "version", "tokens", "nodes", "links")
    graph = nx.MultiDiGraph(**{name: value for name, value in data.items() if name not in known})
    for node in data["nodes"]:
        graph.add_node(node["id"], **{name: value for name, value in node.items() if name != "id"})
    for link in data["links"]:
        values = {name: value for name, value in link.items() if name not in ("source", "target", "name")}
        graph.add_edge(link["source"], link["target"], key=link["name"], **values)
    return graph


def graphml(routes: "Routes", threshold: float | None = None) -> str:
    """The text of `Routes.to_graphml`."""
    import networkx as nx

    graph = to_networkx(routes, threshold)
    for values in (graph.graph, *graph.nodes.values()):
        for name, value in values.items():
            values[name] = _printable(value) if isinstance(value, str) else value
    return "\n".join(nx.generate_graphml(graph)) + "\n"


def to_graphml(routes: "Routes", path: str | PathLike[str], threshold: float | None = None) -> Path:
    """See `Routes.to_graphml`."""
    return write_atomically(check_writable(path), graphml(routes, threshold))


def _printable(text: str) -> str:
    """`text` without characters that XML does not hold."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def drawn(routes: "Routes", threshold: float) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """(lines, marks) as `plots.route_graph` takes them."""
    import pandas as pd

    edges = routes.edges_frame(threshold)
    lines, seen = [], {state_node(routes.n_layers, routes.position)}
    for kind, layer, query, key, contribution, heads, largest in edges.itertuples(index=False):
        shown = f"{heads} heads, most a{layer}.h{largest}" if kind == "attention" else kind
        for start, end in ends(routes, kind, layer, query, key):
            (x0, y0), (x1, y1) = _place(routes, start), _place(routes, end)
            seen |= {start, end}
            lines.append((x0, y0, x1, y1, contribution, kind, f"{shown}, block {layer}: {contribution:.3f}"))
    marks = []
    for node in sorted(seen):
        kind, layer, position = _parsed(node)
        what = {
            "token": "token",
            "attention": f"after attention {layer}",
            "mlp": f"MLP {layer}",
            "state": f"block {layer}",
        }
        x, y = _place(routes, node)
        marks.append((x, y, kind, f"{what[kind]} at {position}"))
    return (
        pd.DataFrame(lines, columns=["x0", "y0", "x1", "y1", "contribution", "kind", "label"]),
        pd.DataFrame(marks, columns=["x", "y", "kind", "label"]),
    )


def _parsed(node: str) -> tuple[str, int, int]:
    """(kind, layer, position) of a name; tokens are of layer -1."""
    layer, _, position = node[1:].partition("_")
    kind = {"X": "token", "A": "attention", "M": "mlp", "I": "state"}[node[0]]
    return kind, -1 if kind == "token" else int(layer), int(position)


def _place(routes: "Routes", node: str) -> tuple[float, float]:
    """Where a node stands: a block is one high, its MLP a little to the side."""
    kind, layer, position = _parsed(node)
    if kind == "mlp":
        return position + 0.3, layer + 0.75
    return float(position), {"token": 0.0, "attention": layer + 0.5, "state": layer + 1.0}[kind]
