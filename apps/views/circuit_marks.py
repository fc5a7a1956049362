"""Where each node of a circuit stands in the drawing: a layer, a column, and a short text."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.circuits.graph_data import CircuitGraph

_NODE = re.compile(r"a(?P<head_layer>\d+)\.(?:h(?P<head>\d+)|kv(?P<kv>\d+))|m(?P<mlp_layer>\d+)(?:\.n(?P<neuron>\d+))?")
_SLOTS = {"<q>": 0, "<k>": 1, "<v>": 2}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One mark of the drawing."""

    name: str
    kind: str
    """input, head, kv (keys and values of several heads), mlp, neuron, logits or group."""
    layer: int
    """-1 is below the first layer; the logits are above the last."""
    column: float
    text: str
    span: float = 1.0
    """Columns across."""


def slot_kind(slot: str) -> int:
    """0 query, 1 key, 2 value, 3 MLP, 4 logits."""
    return 4 if slot == "logits" else _SLOTS.get(slot[-3:], 3)


def mark_of(node: str, graph: "CircuitGraph") -> Mark:
    """The mark of a node, or of the keys and values that several heads share (a{layer}.kv{group})."""
    middle = (graph.n_heads - 1 + graph.mlps) / 2
    if node == "input":
        return Mark(name=node, kind="input", layer=-1, column=middle, text="input")
    if node == "logits":
        return Mark(name=node, kind="logits", layer=graph.n_layers, column=middle, text="logits")
    found = _NODE.fullmatch(node)
    if found is None:
        return Mark(name=node, kind="neuron", layer=0, column=middle, text=node)
    if found["head"] is not None:
        layer, head = int(found["head_layer"]), int(found["head"])
        return Mark(name=node, kind="head", layer=layer, column=head, text=f"{layer}.{head}")
    if found["kv"] is not None:
        layer, group = int(found["head_layer"]), int(found["kv"])
        span = graph.n_heads / graph.n_kv_heads
        text = f"{layer}.kv{group}"
        return Mark(name=node, kind="kv", layer=layer, column=(group + 0.5) * span - 0.5, text=text, span=span)
    layer = int(found["mlp_layer"])
    if found["neuron"] is None:
        return Mark(name=node, kind="mlp", layer=layer, column=graph.n_heads, text=f"m{layer}")
    return Mark(name=node, kind="neuron", layer=layer, column=graph.n_heads, text=f"n{found['neuron']}")
