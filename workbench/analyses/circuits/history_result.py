"""The result of following a circuit over checkpoints."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.circuits.graph import CircuitGraph
from workbench.errors import BadInput
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_CURVES = {
    "faithfulness": (
        "as a share",
        {
            "accuracy": "examples the model gets right",
            "faithfulness": "faithfulness of the step's own circuit",
            "last_circuit": "of the circuit that is followed",
            "random": "of as many random edges",
        },
    ),
    "size": ("how many", {"kept": "edges of the circuit", "nodes": "nodes of the circuit"}),
    "overlap": (
        "in common with the step before",
        {"node_jaccard": "nodes", "smoothed_jaccard": "nodes, smoothed", "edge_jaccard": "edges"},
    ),
}
"""What the figures show: the vertical axis, and columns of the frame in plain words."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CircuitHistory(Result, kind="circuit-history"):
    """At each checkpoint: whether the model does the task, its smallest faithful circuit, and what became of the last.

    Steps are in the order of training. Where a model does not do the task no circuit is looked for: its numbers are NaN
    or 0 then, and its nodes none.
    """

    task: str
    metric: str
    method: str
    select: str
    replace: str
    target: float
    """The faithfulness that a circuit has to come to."""
    steps: tuple[int, ...]
    unit: str
    """What steps count: optimiser steps, tokens."""
    notes: tuple[str, ...]
    """Why no circuit was looked for, checkpoint by checkpoint."""
    n_examples: int
    n_edges: int
    nodes: tuple[str, ...]
    clean: Float[Tensor, "step"]
    """Mean metric of the whole model."""
    corrupted: Float[Tensor, "step"]
    """Mean metric on the corrupted prompts."""
    accuracy: Float[Tensor, "step"]
    does: Bool[Tensor, "step"]
    """Whether the model does the task, by the rule of `workbench.tasks`."""
    shares: tuple[float, ...]
    faithfulness: Float[Tensor, "step size"]
    """Of circuits of these shares of all edges; NaN where none was looked for, or there is no gap."""
    size: Int[Tensor, "step"]
    """Edges of the smallest circuit that comes to the target, before pruning; 0 where none does."""
    kept: Int[Tensor, "step"]
    """Edges of it that are left after pruning."""
    reached: Float[Tensor, "step"]
    """Its faithfulness; NaN where there is no such circuit."""
    random: Float[Tensor, "step"]
    """Faithfulness of as many edges by random scores, grown in the same way."""
    last_circuit: Float[Tensor, "step"]
    """Faithfulness of one and the same circuit: that of the last checkpoint, or the one given. NaN where the model does
    not do the task, as a share of a gap that is noise would be noise."""
    last_metric: Float[Tensor, "step"]
    """The metric that this circuit gives, at every step."""
    present: Bool[Tensor, "step node"]
    """Nodes of the smallest faithful circuit."""
    node_jaccard: Float[Tensor, "step"]
    """What its nodes have in common with those of the checkpoint before; NaN where there is no circuit at either."""
    edge_jaccard: Float[Tensor, "step"]
    """The same of edges."""
    smoothed_jaccard: Float[Tensor, "step"]
    """`node_jaccard`, half of each value and half of the smoothed one before."""
    edges: Int[Tensor, "edge 3"]
    """The edges of the smallest faithful circuits: (place of the checkpoint in `steps`, source, slot)."""
    edge_scores: Float[Tensor, "edge"]
    """Their scores at that checkpoint."""
    graph_json: str
    """The circuit that `last_circuit` follows; of no edges where there is none."""

    @property
    def graph(self) -> CircuitGraph | None:
        """The circuit that `last_circuit` follows; None where the last checkpoint has none."""
        followed = CircuitGraph.from_json(self.graph_json)
        return None if followed.kept is None else followed

    def circuit(self, step: int) -> CircuitGraph:
        """The smallest faithful circuit of one checkpoint, with the scores of its edges; empty where none is."""
        if step not in self.steps:
            known = ", ".join(map(str, self.steps))
            raise BadInput(f"There is no checkpoint at {self.unit} {step!r}; there are {known}.")
        graph = CircuitGraph.from_json(self.graph_json)
        here = self.edges[:, 0] == self.steps.index(step)
        at = self.edges[here, 1:].unbind(-1)
        scores, kept = torch.full(graph.shape, torch.nan), torch.zeros(graph.shape, dtype=torch.bool)
        scores[at], kept[at] = self.edge_scores[here], True
        about = {"task": self.task, "metric": self.metric, "method": self.method, self.unit: step}
        return graph.with_(scores=scores, kept=kept, about=about)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each checkpoint; `does` is 1 where it does the task, `found` where a circuit is faithful."""
        import pandas as pd

        return pd.DataFrame(
            {
                "step": list(self.steps),
                "clean": self.clean.tolist(),
                "corrupted": self.corrupted.tolist(),
                "accuracy": self.accuracy.tolist(),
                "does": self.does.int().tolist(),
                "found": (self.size > 0).int().tolist(),
                "size": self.size.tolist(),
                "kept": self.kept.tolist(),
                "share": (self.size / self.n_edges).tolist(),
                "nodes": self.present.sum(-1).tolist(),
                "faithfulness": self.reached.tolist(),
                "random": self.random.tolist(),
                "last_circuit": self.last_circuit.tolist(),
                "last_metric": self.last_metric.tolist(),
                "followed": (~self.last_circuit.isnan()).int().tolist(),
                "node_jaccard": self.node_jaccard.tolist(),
                "edge_jaccard": self.edge_jaccard.tolist(),
                "smoothed_jaccard": self.smoothed_jaccard.tolist(),
                "compared": (~self.node_jaccard.isnan()).int().tolist(),
                "compared_so_far": (~self.smoothed_jaccard.isnan()).int().tolist(),
            }
        )

    def curve_frame(self) -> "pd.DataFrame":
        """One row for each checkpoint and size: the faithfulness of the circuit of that share of the edges."""
        import pandas as pd

        sizes = functional.circuit_sizes(self.shares, self.n_edges).tolist()
        rows = [
            {"step": step, "share": share, "edges": edges, "faithfulness": value}
            for step, values in zip(self.steps, self.faithfulness.tolist(), strict=True)
            for share, edges, value in zip(self.shares, sizes, values, strict=True)
        ]
        return pd.DataFrame(rows)

    def appearances(self, lasting: int = 1) -> "pd.DataFrame":
        """One row for each node that is ever in a circuit: the step at which it first is, for `lasting` in a row.

        `first` is -1 where it never stays that long; `last_seen` is the last step at which it is in one.
        """
        import pandas as pd

        first = functional.first_appearance(self.present, lasting)
        last = len(self.steps) - 1 - functional.first_appearance(self.present.flip(0))
        seen = self.present.any(0).nonzero()[:, 0].tolist()
        rows = [
            {
                "node": self.nodes[i],
                "first": self.steps[first[i]] if first[i] >= 0 else -1,
                "last_seen": self.steps[last[i]],
                "checkpoints": int(self.present[:, i].sum()),
            }
            for i in seen
        ]
        frame = pd.DataFrame(rows, columns=["node", "first", "last_seen", "checkpoints"])
        return frame.sort_values(["first", "node"], key=_late_last, ignore_index=True)

    def figure(self, *, of: Literal["faithfulness", "size", "overlap"] = "faithfulness") -> "go.Figure":
        """Over the steps: faithfulness of the circuits; their size; or how much of them stays from step to step."""
        said, names = _CURVES[of]
        frame = self.to_frame()
        if of == "size":
            frame = frame[frame["found"] == 1]
        tidy = frame.melt("step", list(names), var_name="curve", value_name=said).dropna()
        tidy["curve"] = [names[name] for name in tidy["curve"]]
        figure = plots.lines(tidy, x="step", y=said, color="curve", title=f"{self.task}, by {self.unit}")
        return figure.update_layout(legend={"title": {"text": ""}})

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """When the task and its circuit come, and the table of checkpoints."""
        does = self.does.nonzero()[:, 0].tolist()
        found = (self.size > 0).nonzero()[:, 0].tolist()
        text = f"{self.task}: no checkpoint of {len(self.steps)} does it."
        if does:
            text = f"{self.task}: first done at {self.unit} {self.steps[does[0]]}"
            text += f", first circuit that gives {self.target:.0%} of it at {self.steps[found[0]]}." if found else "."
        return " ".join([text, *self.notes[:1]]), self.to_frame()


def _late_last(column: Any) -> Any:
    """Steps with -1, for never, behind all others."""
    return column.where(column != -1, float("inf")) if column.name == "first" else column
