"""ACDC: edges taken away one after the other, from the answer backwards, wherever the answers hardly move.

    found = acdc_circuit(wiring, task.pairs(model), threshold=0.01)
    found.kept                                            # (source, slot)

Order: slots from the logits back to the first layer, within a layer the MLP, the values, the keys and the queries; the
edges into a slot from the last source to the first. Each is left out for good if the divergence from the clean run
then grows by less than the threshold. What is found depends on this order: of two edges that can stand in for each
other the one that is tried first goes.

While slots of layer l are visited all edges before it are still there, so blocks are run from l on. Since most edges
go, several are tried at once, each together with all before it; from the first that stays it begins again, so the
outcome is that of one at a time. Slots that reach no kept edge lose theirs without a run.

Conmy et al. (2023), "Towards Automated Circuit Discovery for Mechanistic Interpretability".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_patching import NUMBERS
from workbench.circuits.edge_scores import Replace, Runs, runs
from workbench.circuits.split import Wiring
from workbench.errors import BadInput
from workbench.progress import report

AT_ONCE = 64
"""Most edges that are tried at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Acdc:
    """What ACDC left of a graph."""

    kept: Bool[Tensor, "source slot"]
    rises: Float[Tensor, "source slot"]
    """By how much the divergence grew when the edge was tried; NaN where there is no edge. Kept edges have at least the
    threshold. They order edges as scores do, in the unit of the divergence."""
    divergence: float
    """Of what is left from the clean run: mean KL in nats, or the drop of the metric."""
    runs: int
    """Circuits that were run, the ones in vain included."""


@torch.no_grad()
def acdc_circuit(
    wiring: Wiring,
    pairs: Iterable[Any],
    metric: str = "kl",
    *,
    threshold: float = 0.01,
    replace: Replace = "corrupted",
    numbers: int = NUMBERS,
) -> Acdc:
    """The edges without which the answers move by at least `threshold` each, found from the answer backwards.

    Divergence is mean KL(clean || circuit) in nats at the answer position with "kl", else by how much that metric
    drops; an edge whose loss helps always goes. Costs about one run of the blocks behind it for each edge, and the
    memory of `run_circuit` for as many circuits as `numbers` allows, at least one.
    """
    if not threshold >= 0:
        raise BadInput(f"threshold is how far the answers may move for an edge to go: at least 0, not {threshold!r}.")
    batches = list(runs(wiring, pairs, replace))
    if not batches:
        raise BadInput("There is no example, so no answer can move.")
    return _Search(wiring, batches, metric, threshold, numbers).result()


class _Search:
    """The circuit as far as it is known, and how far it is from the clean run."""

    def __init__(self, wiring: Wiring, batches: list[Runs], metric: str, threshold: float, numbers: int) -> None:
        self.wiring, self.batches, self.metric, self.threshold = wiring, batches, metric, threshold
        graph = wiring.graph
        self.kept = graph.exists.clone()
        self.rises = torch.full(self.kept.shape, torch.nan, dtype=torch.float64)
        largest = max(one.clean.streams[0].numel() for one in batches)
        self.most = max(1, min(AT_ONCE, numbers // (largest * (wiring.n_sources + 3 * graph.n_heads))))
        self.clean = sum(float(one.measure(metric)(one.clean.logits).double().sum()) for one in batches)
        self.count = sum(len(one.pair) for one in batches)
        self.now, self.size, self.n_runs, self.done = 0.0, 1, 0, 0

    def result(self) -> Acdc:
        """Visit every slot, the logits first."""
        graph = self.wiring.graph
        for slot in reversed(range(self.wiring.n_slots)):
            sources = self.kept[:, slot].nonzero()[:, 0].flip(0)
            reaches = slot == self.wiring.n_slots - 1 or bool(self.kept[graph.feeds[slot][: len(self.kept)]].any())
            if reaches or self.threshold == 0:
                self._slot(slot, sources)
            else:
                self.kept[sources, slot], self.rises[sources, slot] = False, 0.0
            self.done += len(sources)
            report("edges", self.done, graph.n_edges)
        return Acdc(kept=self.kept, rises=self.rises, divergence=self.now, runs=self.n_runs)

    def _slot(self, slot: int, sources: Tensor) -> None:
        start = min(int(self.wiring.graph.slot_layer[slot]), len(self.wiring.layers))
        while len(sources):
            trial = sources[: min(self.size, self.most)]
            circuits = self.kept.repeat(len(trial), 1, 1)
            for i in range(len(trial)):
                circuits[i, trial[: i + 1], slot] = False
            found = self._divergences(circuits, start)
            rises = torch.diff(found, prepend=torch.tensor([self.now], dtype=found.dtype))
            stays = (~(rises < self.threshold)).nonzero()[:, 0]
            gone = int(stays[0]) if len(stays) else len(trial)
            tried = min(gone + 1, len(trial))
            self.rises[trial[:tried], slot] = rises[:tried]
            self.kept[trial[:gone], slot] = False
            self.now = float(found[gone - 1]) if gone else self.now
            self.size = max(1, self.size // 2) if len(stays) else min(2 * self.size, AT_ONCE)
            sources = sources[tried:]

    def _divergences(self, circuits: Bool[Tensor, "circuit source slot"], start: int) -> Float[Tensor, "circuit"]:
        total = torch.zeros(len(circuits), dtype=torch.float64)
        for one in self.batches:
            logits = run_circuit(self.wiring, one.clean, one.other, circuits, start=start)
            values = one.measure(self.metric, len(circuits))(logits).double().view(len(circuits), -1)
            total += values.sum(1).cpu()
        self.n_runs += len(circuits)
        return (self.clean - total) / self.count
