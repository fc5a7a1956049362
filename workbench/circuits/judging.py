"""What circuits of a model carry: the metric of each circuit beside that of the whole model and of none of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import Replace, runs
from workbench.circuits.graph import CircuitGraph
from workbench.circuits.split import Wiring
from workbench.errors import BadInput
from workbench.progress import track

CHUNK_BYTES = 2**29
"""Most memory that the writes of circuits run at once take."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Judged:
    """The metric of each example, in the order of the task's examples."""

    clean: Float[Tensor, "example"]
    empty: Float[Tensor, "example"]
    """With no edge kept: on the corrupted prompt, or with every write replaced."""
    circuits: Float[Tensor, "circuit example"]

    @property
    def faithfulness(self) -> Float[Tensor, "circuit"]:
        """Share of the gap between none and all of the model that each circuit carries.

        NaN where the whole model is no better than none of it: there is nothing to carry a share of.
        """
        clean, empty = self.clean.mean(), self.empty.mean()
        found = functional.normalised_faithfulness(self.circuits.mean(-1), clean, empty)
        return found if clean > empty else torch.full_like(found, torch.nan)

    @property
    def without_gap(self) -> int:
        """Examples on which the metric of the whole model is no higher than that of none of it."""
        return int((self.clean <= self.empty).sum())


def judged(
    wiring: Wiring,
    pairs: Iterable[Any],
    metric: str,
    kept: Bool[Tensor, "circuit source slot"],
    *,
    replace: Replace = "corrupted",
) -> Judged:
    """Run each circuit on every example. Costs about two forward passes a circuit and example; none for the empty one.

    `kept` without circuits, (0, source, slot), measures the whole model and none of it alone.
    """
    pairs = list(pairs)
    found: dict[str, list[Tensor]] = {"clean": [], "empty": [], "circuits": []}
    numbers: list[int] = []
    runnable = kept.any(-1).any(-1) if len(kept) else kept.new_zeros(0)
    for one in runs(wiring, track(pairs, label="batches judged"), replace):
        measure, size = one.measure(metric), len(one.clean.position)
        found["clean"].append(measure(one.clean.logits))
        if replace == "corrupted":
            found["empty"].append(measure(one.corrupted.logits))
        else:
            found["empty"].append(measure(run_circuit(wiring, one.clean, one.other, torch.zeros_like(kept[:1]))))
        rows = found["empty"][-1].repeat(len(kept), 1)
        at_once = max(1, CHUNK_BYTES // max(1, one.other.numel() * one.other.element_size()))
        chunks = runnable.nonzero()[:, 0].split(at_once) if bool(runnable.any()) else ()
        for chunk in track(chunks, label="circuits run"):
            logits = run_circuit(wiring, one.clean, one.other, kept[chunk.to(kept.device)])
            rows[chunk] = one.measure(metric, len(chunk))(logits).view(len(chunk), size)
        found["circuits"].append(rows)
        numbers += one.pair.numbers or range(len(numbers), len(numbers) + size)
    if not numbers:
        raise BadInput("There is no example to judge circuits on.")
    order = torch.tensor(numbers).argsort()
    return Judged(**{name: torch.cat(parts, -1)[..., order].detach().cpu() for name, parts in found.items()})


def ordered_edges(graph: CircuitGraph, scores: Tensor, select: str, *, absolute: bool = True) -> Int[Tensor, "edge"]:
    """Edges in the order in which circuits take them: "greedy" grows from the logits, "top" goes by score alone."""
    if select == "top":
        return functional.top_order(scores, graph.exists.to(scores.device), absolute=absolute)
    return functional.greedy_order(
        scores, graph.exists.to(scores.device), graph.feeds.to(scores.device), absolute=absolute
    )


def circuits_of(
    graph: CircuitGraph, order: Int[Tensor, "edge"], sizes: Sequence[int]
) -> Bool[Tensor, "circuit source slot"]:
    """The first edges of an order, for each size, without those that lie on no way from the input to the logits."""
    shape = tuple(graph.exists.shape)
    kept = [
        functional.prune_edges(functional.first_edges(order, size, shape), graph.feeds.to(order.device))
        for size in sizes
    ]
    return torch.stack(kept) if kept else torch.zeros(0, *shape, dtype=torch.bool)
