"""Whether a circuit is all of what matters and nothing else: completeness and minimality, for any way to measure.

A measure takes circuits, (circuit, source, slot) true where an edge is kept, and gives the metric of each. What runs
the model, and on what, is up to it.

Reference: Wang et al. (2022), "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2
small", which asks that circuit and model agree under the same knock-outs, and that each part of the circuit matters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import BadInput

Measure = Callable[[Tensor], Tensor]
"""(circuit, source, slot) -> (circuit)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Completeness:
    """What circuit and model answer under the same knock-outs."""

    circuit: Float[Tensor, "knockout"]
    """The metric of the circuit without the edges knocked out."""
    model: Float[Tensor, "knockout"]
    """The metric of the whole model without them."""

    @property
    def gap(self) -> Float[Tensor, "knockout"]:
        """How far apart they are, in units of the metric; 0 of a complete circuit. The largest is the score."""
        return (self.circuit - self.model).abs()


def completeness(
    measure: Measure,
    kept: Bool[Tensor, "source slot"],
    exists: Bool[Tensor, "source slot"],
    knockouts: Bool[Tensor, "knockout source slot"],
    *,
    at_once: int = 16,
) -> Completeness:
    """Whether a circuit is missing something: it and the whole model measured without the same edges.

    A circuit that lacks a part which stands in for another answers as the model does, until the other is knocked out.
    Two measurements for each knock-out, `at_once` together.
    """
    exists, knockouts = exists.to(kept.device), knockouts.to(kept.device)
    circuit = _measured(measure, kept & ~knockouts, at_once)
    return Completeness(circuit=circuit, model=_measured(measure, exists & ~knockouts, at_once))


def minimality(
    measure: Measure, kept: Bool[Tensor, "source slot"], *, at_once: int = 16
) -> tuple[Int[Tensor, "edge 2"], Float[Tensor, "edge"]]:
    """What each edge adds to a circuit: the edges as (source, slot), and by how much the metric drops without each.

    In units of the metric; near 0 is an edge that the circuit does without. One measurement for each edge.
    """
    edges = kept.nonzero()
    whole = _measured(measure, kept[None], at_once)
    left = [_without(kept, some) for some in edges.split(at_once)]
    values = [_measured(measure, circuits, at_once) for circuits in left]
    return edges, whole - torch.cat(values) if values else whole[:0]


def random_knockouts(
    kept: Bool[Tensor, "source slot"], n: int, *, share: float = 0.5, seed: int = 0
) -> Bool[Tensor, "knockout source slot"]:
    """`n` random sets of a circuit's sources, each as all edges from them: knock-outs to measure completeness with.

    Each source that writes in the circuit is in a set with the chance `share`.
    """
    if n < 1 or not 0 <= share <= 1:
        raise BadInput(f"Draw one or more sets, with a share from 0 to 1: not {n} and {share}.")
    drawn = torch.rand(n, len(kept), generator=torch.Generator().manual_seed(seed)) < share
    out = drawn.to(kept.device) & kept.any(-1)
    return out[..., None].expand(n, *kept.shape)


def _without(kept: Tensor, edges: Tensor) -> Bool[Tensor, "edge source slot"]:
    circuits = kept.repeat(len(edges), 1, 1)
    circuits[torch.arange(len(edges), device=kept.device), edges[:, 0], edges[:, 1]] = False
    return circuits


def _measured(measure: Measure, circuits: Tensor, at_once: int) -> Tensor:
    if at_once < 1:
        raise BadInput(f"At least one circuit is measured at a time, not {at_once}.")
    parts = [measure(some) for some in circuits.split(at_once)] if len(circuits) else []
    for some, values in zip(circuits.split(at_once), parts, strict=False):
        if tuple(values.shape) != (len(some),):
            raise BadInput(f"A measure gives one number for each of {len(some)} circuits, not {tuple(values.shape)}.")
    return torch.cat(parts) if parts else torch.zeros(0)
