"""One way in to every method that scores edges: gradients, exact patching, ACDC, nodes, and what has seen no task."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional
from workbench.circuits.acdc import acdc_circuit
from workbench.circuits.baselines import random_scores, weight_scores
from workbench.circuits.edge_scores import Method, Replace as Replace, Rule as Rule, edge_scores
from workbench.circuits.exact import exact_scores
from workbench.circuits.graph import CircuitGraph
from workbench.circuits.judging import ordered_edges
from workbench.circuits.node_scores import node_attributions, spread_to_edges
from workbench.circuits.split import Wiring
from workbench.errors import BadInput, UnknownName

Finder = Literal[
    "eap-ig", "eap", "eap-ig-activations", "clean-corrupted", "exact", "acdc", "nodes", "weights", "random"
]
GRADIENTS: dict[str, Method] = {name: name for name in get_args(Method)}


def found_scores(
    wiring: Wiring,
    pairs: Sequence[Any],
    metric: str,
    method: Finder,
    *,
    steps: int = 5,
    rule: Rule = "midpoint",
    replace: Replace = "corrupted",
    threshold: float = 0.01,
    seed: int = 0,
) -> tuple[Float[Tensor, "source slot"], Int[Tensor, "edge"] | None]:
    """Scores of all edges by one method, and the order of edges where the method itself gives one.

    eap, eap-ig, eap-ig-activations, clean-corrupted: `edge_scores`. exact: a run for each edge (`exact_scores`).
    acdc: a run for most edges, its order that of how far the answers moved (`acdc_circuit`). nodes: each edge has the
    lesser of its two ends' (`spread_to_edges`). weights, random: no task is seen (`weight_scores`, `random_scores`).
    """
    if metric == "kl" and method in ("eap", "nodes"):
        raise BadInput(
            f"The divergence from the clean answers has no slope at the clean prompt, so {method} would rank rounding."
            " Choose eap-ig, or another metric."
        )
    if method in GRADIENTS:
        way = GRADIENTS[method]
        return edge_scores(wiring, pairs, metric, method=way, steps=steps, rule=rule, replace=replace), None
    if method == "exact":
        return exact_scores(wiring, pairs, metric, replace=replace), None
    if method == "acdc":
        rises = acdc_circuit(wiring, pairs, metric, threshold=threshold, replace=replace).rises.cpu()
        return rises, functional.top_order(rises, wiring.graph.exists, absolute=False)
    if method == "nodes":
        return spread_to_edges(wiring.graph, node_attributions(wiring, pairs, metric, replace=replace)), None
    if method == "weights":
        return weight_scores(wiring), None
    if method == "random":
        return random_scores(wiring.graph, seed), None
    raise UnknownName("method", method, get_args(Finder))


def random_orders(graph: CircuitGraph, select: str, draws: int, seed: int) -> list[Int[Tensor, "edge"]]:
    """Orders of edges by random scores, selected as the others are."""
    return [ordered_edges(graph, random_scores(graph, seed + 1 + i), select) for i in range(draws)]
