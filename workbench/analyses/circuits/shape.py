"""The shape of the graph that a result's scores of edges are of: enough to make the graph again without the model."""

from dataclasses import dataclass
from typing import Any

from workbench.circuits.graph import CircuitGraph


@dataclass(frozen=True, eq=False, kw_only=True)
class Shape:
    """Sizes and order of a model as a circuit graph has them."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    mlps: bool
    parallel: bool
    slots: str
    d_model: int
    norms: str
    """Where blocks have their norms, as circuit graphs say it: pre, post or parallel."""

    def graph_with(self, **more: Any) -> CircuitGraph:
        """A graph of this shape; `more` are its scores, model and the like."""
        return CircuitGraph(
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            mlps=self.mlps,
            parallel=self.parallel,
            slots="query-head" if self.slots == "query-head" else "kv-head",
            d_model=self.d_model,
            order=self.norms,
            **more,
        )


def shape_of(graph: CircuitGraph) -> Shape:
    """The shape of a graph."""
    return Shape(
        n_layers=graph.n_layers,
        n_heads=graph.n_heads,
        n_kv_heads=graph.n_kv_heads,
        mlps=graph.mlps,
        parallel=graph.parallel,
        slots=graph.slots,
        d_model=graph.d_model,
        norms=graph.order,
    )
