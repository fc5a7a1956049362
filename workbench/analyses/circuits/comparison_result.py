"""The result of comparing two circuits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.circuits.shape import Shape
from workbench.circuits.graph import CircuitGraph
from workbench.errors import BadInput
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

SIDES = ("both", "first", "second")


@dataclass(frozen=True, eq=False, kw_only=True)
class CircuitComparison(Shape, Result, kind="circuit-comparison"):
    """Two circuits of one model at the same sizes: shared edges and nodes, and each on the task of the other."""

    tasks: tuple[str, str]
    metrics: tuple[str, str]
    methods: tuple[str, str]
    select: str
    replace: str
    n_examples: tuple[int, int]
    notes: tuple[str, ...]
    clean: Float[Tensor, "task"]
    """Mean metric of the whole model."""
    corrupted: Float[Tensor, "task"]
    """Mean metric with no edge kept."""
    scores: Float[Tensor, "task source slot"]
    """By how much the metric drops without each edge; NaN where there is no edge, or no score for it."""
    rank: Int[Tensor, "task source slot"]
    """The turn in which a circuit takes each edge, from 0; -1 for never."""
    shares: tuple[float, ...]
    sizes: Int[Tensor, "size"]
    """Edges that both circuits are given, before dead ends are pruned."""
    kept: Int[Tensor, "task size"]
    """Edges left after pruning."""
    shared: Int[Tensor, "size"]
    """Of these, edges that both have."""
    jaccard: Float[Tensor, "size"]
    """Edges that both have, of those that one has; NaN where both are empty."""
    node_jaccard: Float[Tensor, "size"]
    """The same of nodes."""
    random_jaccard: Float[Tensor, "size"]
    """What the first circuit shares with one of random scores grown in the same way: the mean over the draws."""
    faithfulness: Float[Tensor, "circuit task size"]
    """Share of a task's gap that a circuit gives: [0, 1] is the first task's circuit on the second task."""
    random_faithfulness: Float[Tensor, "task size"]
    """The same for circuits of random scores, the mean over the draws."""
    spearman: float
    """Agreement of the sizes of all scores in order."""
    pearson: float
    """And in proportion."""

    @property
    def graph(self) -> CircuitGraph:
        """The graph, without scores."""
        return self.graph_with(model=str(self.meta.get("model", "")))

    def circuits(self, n: int) -> tuple[CircuitGraph, CircuitGraph]:
        """Both circuits of `n` edges, dead ends pruned; the model is not run."""
        graph = self.graph
        if not 0 <= n <= graph.n_edges:
            raise BadInput(f"This graph has {graph.n_edges:,} edges; circuits of {n:,} cannot be taken from it.")
        first, second = (
            graph.with_(
                scores=self.scores[i],
                kept=functional.prune_edges((self.rank[i] >= 0) & (self.rank[i] < n), graph.feeds),
                about={"task": self.tasks[i], "metric": self.metrics[i], "method": self.methods[i]},
            )
            for i in (0, 1)
        )
        return first, second

    def sides(self, n: int) -> "pd.DataFrame":
        """One row for each edge of either circuit of `n` edges: in both, in the first, or in the second only."""
        first, second = (circuit.kept for circuit in self.circuits(n))
        assert first is not None and second is not None
        frame = self._edges((first | second).flatten().nonzero()[:, 0])
        side = torch.where(first & second, 0, torch.where(first, 1, 2))[first | second]
        frame.insert(0, "in", [SIDES[i] for i in side.tolist()])
        return frame

    def to_frame(self) -> "pd.DataFrame":
        """One row for each edge: the turn in which each circuit takes it (-1: never) and its score for each task."""
        return self._edges(self.graph.exists.flatten().nonzero()[:, 0])

    def _edges(self, places: Tensor) -> "pd.DataFrame":
        import pandas as pd

        graph, n_slots = self.graph, self.scores.shape[-1]
        scores, ranks = self.scores.flatten(1)[:, places], self.rank.flatten(1)[:, places]
        return pd.DataFrame(
            {
                "source": [graph.sources[i] for i in (places // n_slots).tolist()],
                "slot": [graph.slot_names[i] for i in (places % n_slots).tolist()],
                "rank_first": ranks[0].tolist(),
                "rank_second": ranks[1].tolist(),
                "score_first": scores[0].tolist(),
                "score_second": scores[1].tolist(),
                "scored_first": (~scores[0].isnan()).int().tolist(),
                "scored_second": (~scores[1].isnan()).int().tolist(),
            }
        ).astype({"source": str, "slot": str})  # also where there is no edge

    def overlap_frame(self) -> "pd.DataFrame":
        """One row for each size: what the circuits share, beside what one shares with a circuit of random scores."""
        import pandas as pd

        return pd.DataFrame(
            {
                "share": self.shares,
                "edges": self.sizes.tolist(),
                "kept_first": self.kept[0].tolist(),
                "kept_second": self.kept[1].tolist(),
                "shared": self.shared.tolist(),
                "jaccard": self.jaccard.tolist(),
                "node_jaccard": self.node_jaccard.tolist(),
                "random_jaccard": self.random_jaccard.tolist(),
            }
        )

    def cross_frame(self) -> "pd.DataFrame":
        """One row for each circuit (first, second, random), task and size: its faithfulness."""
        import pandas as pd

        circuits = [("first", self.faithfulness[0]), ("second", self.faithfulness[1])]
        if not self.random_faithfulness.isnan().all():
            circuits.append(("random", self.random_faithfulness))
        rows = [
            {"circuit": circuit, "task": task, "share": share, "edges": edges, "faithfulness": value}
            for circuit, by_task in circuits
            for task, values in zip(("first", "second"), by_task.tolist(), strict=True)
            for share, edges, value in zip(self.shares, self.sizes.tolist(), values, strict=True)
        ]
        return pd.DataFrame(rows)

    def figure(self, *, of: Literal["faithfulness", "overlap"] = "faithfulness") -> "go.Figure":
        """How faithful each circuit is to each task; or what the two share, also where no task has a gap."""
        if of == "overlap" or bool(self.faithfulness.isnan().all()):
            tidy = self.overlap_frame().melt(
                "share", ["jaccard", "node_jaccard", "random_jaccard"], var_name="of", value_name="in common"
            )
            return plots.lines(tidy.dropna(), x="share", y="in common", color="of", log_x=True, title=self._title)
        tidy = self.cross_frame().dropna()
        tidy["circuit on task"] = tidy["circuit"] + " on " + tidy["task"]
        return plots.lines(tidy, x="share", y="faithfulness", color="circuit on task", log_x=True, title=self._title)

    @property
    def _title(self) -> str:
        return f"first: {self._names[0]}, second: {self._names[1]}"

    @property
    def _names(self) -> tuple[str, str]:
        """The tasks; with the methods, where these are two."""
        if self.methods[0] == self.methods[1]:
            return self.tasks
        return f"{self.tasks[0]} by {self.methods[0]}", f"{self.tasks[1]} by {self.methods[1]}"

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """What the circuits share, and the table of sizes."""
        text = (
            f"{self._names[0]} and {self._names[1]}: scores of all edges agree to {self.spearman:.2f} (Spearman) and"
            f" {self.pearson:.2f} (Pearson), by size."
        )
        return " ".join([text, *self.notes]), self.overlap_frame()
