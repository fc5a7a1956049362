"""What the circuit page shows: a result that was run or opened, or a graph from a file; and its circuit of any size."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from apps.views.circuit_curve import ENOUGH
from apps.views.circuit_words import unit_of

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.analyses.circuits.circuit import Circuit
    from workbench.analyses.circuits.circuit_comparison import CircuitComparison
    from workbench.circuits.graph_data import CircuitGraph

STEPS = 56  # sizes on the slider
WELL_SEEN = 500  # edges of the largest circuit that is shown unasked
_KEPT = 24  # circuits kept of each result
_made: "WeakKeyDictionary[Any, OrderedDict[int, CircuitGraph]]" = WeakKeyDictionary()


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown:
    """One circuit of every size."""

    title: str
    graph: "CircuitGraph"
    """With scores, if they are known."""
    circuit: "Callable[[int], CircuitGraph]"
    """The circuit of at most so many edges; no model is run."""
    unit: str
    found: "Circuit | None" = None
    """None for a graph without a curve."""
    fixed: bool = False
    """Whether there is one size alone."""

    @property
    def n_edges(self) -> int:
        """Edges of the model."""
        return self.graph.n_edges

    def at(self, size: int) -> "CircuitGraph":
        """The circuit of that size, made once."""
        kept = _made.setdefault(self.found or self.graph, OrderedDict())
        if size not in kept:
            kept[size] = self.circuit(size)
            while len(kept) > _KEPT:
                kept.popitem(last=False)
        return kept[size]

    def sizes(self, *more: int) -> list[int]:
        """The sizes that a slider offers."""
        count = self.n_edges
        even = {round(count ** (i / (STEPS - 1))) for i in range(STEPS)}
        return sorted({size for size in {*even, *measured(self).sizes, *more} if 1 <= size <= count})

    def first_size(self) -> int:
        """The smallest measured size that carries 80 % of the task, if that is well seen."""
        if self.found is None:
            some = min(max(self.n_edges // 10, 1), WELL_SEEN)
            return some if self.graph.kept is None else max(1, self.graph.n_kept)
        known = measured(self)
        rows = list(zip(known.sizes, known.kept, known.faithfulness, strict=True))
        enough = [size for size, left, value in rows if value >= ENOUGH and left <= WELL_SEEN]
        fitting = [size for size, left, _ in rows if 0 < left <= WELL_SEEN]
        return min(enough) if enough else max(fitting, default=min(self.n_edges, WELL_SEEN))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found by running circuits of some sizes."""

    sizes: list[int]
    """Edges asked for, at least one."""
    kept: list[int]
    """Edges left after pruning."""
    faithfulness: list[float]
    random: "Tensor"
    """(draw, size)"""


def measured(one: Shown) -> Measured:
    """The sizes at which the model was run; those of no edge at all, which give nothing, are left out."""
    if one.found is None:
        return Measured(sizes=[], kept=[], faithfulness=[], random=one.graph.exists[:0, :0].float())
    some = one.found.sizes > 0
    return Measured(
        sizes=one.found.sizes[some].tolist(),
        kept=one.found.kept[some].tolist(),
        faithfulness=one.found.faithfulness[some].tolist(),
        random=one.found.random_faithfulness[:, some],
    )


def of_result(found: "Circuit") -> Shown:
    """A result."""
    return Shown(
        title=f"{found.task}, {found.method}",
        graph=found.graph,
        circuit=found.circuit,
        unit=unit_of(found.metric),
        found=found,
    )


def of_comparison(found: "CircuitComparison") -> tuple[Shown, Shown]:
    """Both circuits of a comparison."""
    one_task = found.tasks[0] == found.tasks[1]

    def shown(i: int) -> Shown:
        return Shown(
            title=f"{found.tasks[i]}, {found.methods[i]}" if one_task else found.tasks[i],
            graph=found.graph.with_(scores=found.scores[i]),
            circuit=lambda size: found.circuits(size)[i],
            unit=unit_of(found.metrics[i]),
        )

    return shown(0), shown(1)


def of_graph(graph: "CircuitGraph", name: str) -> Shown:
    """A graph from a file: of the size it was saved with, and of others where scores say which edges come first."""
    about = ", ".join(str(graph.about[key]) for key in ("task", "method") if key in graph.about)
    unit = unit_of(str(graph.about.get("metric", "")))
    fixed = graph.scores is None or bool(graph.positions)
    from workbench.circuits.judging import circuits_of, ordered_edges

    @cache
    def order() -> "Tensor":
        assert graph.scores is not None
        return ordered_edges(graph, graph.scores, "greedy")

    def circuit(size: int) -> "CircuitGraph":
        if fixed or (graph.kept is not None and size == graph.n_kept):
            return graph
        return graph.with_(kept=circuits_of(graph, order(), [size])[0])

    return Shown(title=about or name, graph=graph, circuit=circuit, unit=unit, fixed=fixed)


def carried_at(one: Shown, size: int) -> tuple[float | None, tuple[float, float] | None, float | None]:
    """(faithfulness at a measured size, that of the sizes around it, mean of random circuits at a measured size)."""
    known = measured(one)
    sizes, values = known.sizes, known.faithfulness
    if size in sizes:
        at = sizes.index(size)
        return values[at], None, float(known.random[:, at].nanmean()) if len(known.random) else None
    below = [value for s, value in zip(sizes, values, strict=True) if s < size]
    above = [value for s, value in zip(sizes, values, strict=True) if s > size]
    if not below and not above:
        return None, None, None
    return None, ((below or [0.0])[-1], (above or [1.0])[0]), None
