"""What is refused before it becomes a graph: sizes of which there is no model, and names that are no text."""

import math
from typing import Any

from workbench.errors import BadInput, UnknownName

MOST_CELLS = 2**30
"""Pairs of a source and a slot that one graph may have: 1 GB for a mask."""


def check_sizes(graph: Any) -> None:
    """Refuse sizes of which there is no model."""
    for name in ("n_layers", "n_heads", "n_kv_heads"):
        size = getattr(graph, name)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise BadInput(f"{name} is a whole number from 1, not {size!r}.")
    if graph.n_heads % graph.n_kv_heads:
        raise BadInput(f"{graph.n_heads} heads cannot share {graph.n_kv_heads} key and value heads evenly.")
    if graph.slots not in ("kv-head", "query-head"):
        raise UnknownName("kind of slots", str(graph.slots), ["kv-head", "query-head"])
    d_model = graph.d_model
    if not isinstance(d_model, int) or isinstance(d_model, bool) or d_model < 0:
        raise BadInput(f"d_model is a whole number, 0 where it is not known, and not {d_model!r}.")
    if graph.order not in ("", "pre", "post", "parallel", "mixer"):
        raise BadInput(f"order is 'pre', 'post' or 'parallel', or '' where it is not known, and not {graph.order!r}.")
    sources = 1 + graph.n_layers * (graph.n_heads + 1) + len(graph.neurons) * (graph.n_neurons or 0)
    cells = sources * (1 + graph.n_layers * (3 * graph.n_heads + 1)) * max(len(graph.positions), 1)
    if cells > MOST_CELLS:
        raise BadInput(
            f"A graph of these sizes has {cells:,} pairs of nodes, more than the {MOST_CELLS:,} that are held."
        )
    layers = list(graph.neurons)
    if not layers:
        return
    if not graph.mlps:
        raise BadInput("A model without MLPs has no neurons to split.")
    if len(set(layers)) < len(layers) or not all(
        isinstance(i, int) and not isinstance(i, bool) and 0 <= i < graph.n_layers for i in layers
    ):
        raise BadInput(f"neurons names layers from 0 to {graph.n_layers - 1}, each once, not {tuple(layers)}.")
    if not isinstance(graph.n_neurons, int) or isinstance(graph.n_neurons, bool) or graph.n_neurons < 1:
        raise BadInput(f"n_neurons says how many neurons an MLP has, from 1; {graph.n_neurons!r} is none.")


def check_words(graph: Any) -> None:
    """Refuse names, labels, groups and notes that are no plain text: they go to files and onto pages."""
    texts = [graph.model, *graph.positions, *graph.labels, *graph.labels.values(), *graph.groups, *graph.pinned]
    texts += [*graph.about, *(node for nodes in graph.groups.values() for node in nodes)]
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise BadInput(f"Names, labels, groups and positions of a graph are texts, not {wrong[0]!r}.")
    for name, value in graph.about.items():
        if not isinstance(value, str | int | float | bool) or isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"What a graph says about itself is texts and finite numbers: {name} is {value!r}.")
