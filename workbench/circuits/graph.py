"""The graph of a model, or of sizes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.circuits.graph_data import CircuitGraph as CircuitGraph
from workbench.circuits.graph_layout import Slots as Slots
from workbench.errors import BadInput, MissingCapability

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel


def circuit_graph(
    model: "LensModel | None" = None,
    *,
    n_layers: int | None = None,
    n_heads: int | None = None,
    n_kv_heads: int | None = None,
    mlps: bool = True,
    parallel: bool = False,
    slots: Slots | None = None,
    neurons: Sequence[int] = (),
    n_neurons: int = 0,
    positions: Sequence[str] = (),
) -> CircuitGraph:
    """The graph of a model, or of sizes: nodes and edges without scores.

    Sequential blocks of L layers and H heads have 1 + L (H + 1) sources and
    sum_l [3H (1 + l(H + 1)) + 1 + l(H + 1) + H] + 1 + L(H + 1) edges: 32,491 for GPT-2 small. `slots="kv-head"` has
    one slot for the keys and one for the values of each kv head, which is what a model computes and the rule where a
    model or `n_kv_heads` is given; `"query-head"` counts them once for each query head, as published numbers do.
    """
    if model is not None:
        if n_layers is not None or n_heads is not None or n_kv_heads is not None:
            raise BadInput("Give a model or its sizes, not both.")
        known = sizes_of(model)
        if neurons and not n_neurons:
            n_neurons = _neurons_of(model, neurons[0])
        name = model.name
    elif n_layers is None or n_heads is None:
        raise BadInput("Say of what: circuit_graph(model), or circuit_graph(n_layers=12, n_heads=12).")
    else:
        slots = slots or ("query-head" if n_kv_heads is None else "kv-head")
        known: dict[str, Any] = {
            "n_layers": n_layers,
            "n_heads": n_heads,
            "n_kv_heads": n_heads if n_kv_heads is None else n_kv_heads,
        }
        known |= {"mlps": mlps, "parallel": parallel}
        name = ""
    return CircuitGraph(
        **known,
        slots=slots or "kv-head",
        neurons=tuple(neurons),
        n_neurons=n_neurons,
        positions=tuple(positions),
        model=name,
    )


def sizes_of(model: "LensModel") -> dict[str, Any]:
    """What the graph of a model's main stack is made of."""
    if len(model.stacks) > 1:
        raise MissingCapability(
            f"{model.name} has {len(model.stacks)} stacks of blocks ({', '.join(s.prefix for s in model.stacks)});"
            " circuit graphs are of models with one: decoders or encoders."
        )
    if not model.attentions:
        raise MissingCapability(f"{model.name} has no attention ({model.family}), so there are no heads to be nodes.")
    main = model.main
    return {
        "n_layers": main.n_blocks,
        "n_heads": main.sizes.n_heads,
        "n_kv_heads": main.sizes.n_kv_heads,
        "mlps": "mlp_out" in model.capabilities,
        "parallel": main.row.order == "parallel",
        "d_model": main.sizes.d_model,
        "order": main.row.order,
    }


def _neurons_of(model: "LensModel", layer: int) -> int:
    mapped = model.mlp_map(layer)
    if mapped is None:
        raise BadInput(f"{model.name} has no MLP in layer {layer} to split into neurons.")
    return mapped.outer.weight.shape[0]
