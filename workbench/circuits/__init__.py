"""Circuits: a model as a graph of what writes to the residual stream and what reads from it, edge by edge."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.circuits.blocks import answers as answers, recorded as recorded, run_blocks as run_blocks
    from workbench.circuits.circuit_run import run_circuit as run_circuit
    from workbench.circuits.edge_scores import Method as Method, Runs as Runs, edge_scores as edge_scores, runs as runs
    from workbench.circuits.exact import exact_scores as exact_scores
    from workbench.circuits.finding import found_scores as found_scores, random_orders as random_orders
    from workbench.circuits.graph import circuit_graph as circuit_graph
    from workbench.circuits.graph_data import CircuitGraph as CircuitGraph
    from workbench.circuits.judging import (
        circuits_of as circuits_of,
        judged as judged,
        ordered_edges as ordered_edges,
    )
    from workbench.circuits.node_scores import node_attributions as node_attributions
    from workbench.circuits.split import Wiring as Wiring, split as split

__all__ = [
    "CircuitGraph",
    "Method",
    "Runs",
    "Wiring",
    "answers",
    "circuit_graph",
    "circuits_of",
    "edge_scores",
    "exact_scores",
    "found_scores",
    "judged",
    "node_attributions",
    "ordered_edges",
    "random_orders",
    "recorded",
    "run_blocks",
    "run_circuit",
    "runs",
    "split",
]

_HOME = {
    "blocks": ("answers", "recorded", "run_blocks"),
    "circuit_run": ("run_circuit",),
    "edge_scores": ("Method", "Runs", "edge_scores", "runs"),
    "exact": ("exact_scores",),
    "finding": ("found_scores", "random_orders"),
    "graph": ("circuit_graph",),
    "graph_data": ("CircuitGraph",),
    "judging": ("circuits_of", "judged", "ordered_edges"),
    "node_scores": ("node_attributions",),
    "split": ("Wiring", "split"),
}
__getattr__, __dir__ = lazily(__name__, _HOME)


class _Package(ModuleType):
    """Keeps `circuits.split` the function: importing `circuits/split.py` would rebind it to the module."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
