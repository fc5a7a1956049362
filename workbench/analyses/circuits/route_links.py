"""The parts of a route as columns, and which of them hang together: from the traced state down, above a threshold.

A part is kept when its own share is above the threshold and the sum that it is part of is on the route. So each part
has one number, the weakest link of the best chain that leads to it: it is on the route for every threshold below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

ATTENTION, RESIDUAL, BIAS, MLP, PASSING = range(5)
"""What a head brought from a position; the stream beside attention; the bias of W_O; the MLP; the stream beside it."""
KINDS = ("attention", "residual", "bias", "mlp", "past the mlp")


def stages(*, mlps: bool, parallel: bool) -> tuple[tuple[int, ...], ...]:
    """The sums of a block, the last one first, by the kinds of their parts."""
    if not mlps:
        return ((ATTENTION, RESIDUAL, BIAS),)
    if parallel:
        return ((ATTENTION, RESIDUAL, BIAS, MLP),)
    return (MLP, PASSING), (ATTENTION, RESIDUAL, BIAS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Links:
    """One entry a part, arrays (part,)."""

    kind: np.ndarray
    layer: np.ndarray
    query: np.ndarray
    """The position of the sum that the part is in."""
    key: np.ndarray
    """The position it comes from; `query` but for attention."""
    head: np.ndarray
    """-1 but for attention."""
    share: np.ndarray
    n_layers: int
    n_positions: int
    stages: tuple[tuple[int, ...], ...]
    """The kinds of parts of each sum of a block, the last sum first."""

    def held(self, target: int) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds below which (part,) and states (layer + 1, pos) are on the route of the last state at `target`."""
        found = np.zeros(len(self.kind))
        states = np.zeros((self.n_layers + 1, self.n_positions))
        states[-1, target] = np.inf
        for layer in reversed(range(self.n_layers)):
            here, state = self._of_layer(layer), states[layer + 1]
            for kinds in self.stages:
                chosen = here[np.isin(self.kind[here], kinds)]
                found[chosen] = np.minimum(self.share[chosen], state[self.query[chosen]])
                leading = chosen[self.kind[chosen] != BIAS]
                state = np.zeros(self.n_positions)
                np.maximum.at(state, self.key[leading], found[leading])
            states[layer] = state
        return found, states

    def divided(self, kept: np.ndarray) -> np.ndarray:
        """Shares of the `kept` parts (a mask), divided so that those of one sum are one; 0 for all others."""
        shares = np.where(kept, self.share, 0.0)
        stage = np.zeros_like(self.kind)
        for number, kinds in enumerate(self.stages):
            stage[np.isin(self.kind, kinds)] = number
        sums = np.zeros((len(self.stages), self.n_layers, self.n_positions))
        np.add.at(sums, (stage, self.layer, self.query), shares)
        totals = sums[stage, self.layer, self.query]
        return np.divide(shares, totals, out=np.zeros_like(shares), where=totals > 0)

    def _of_layer(self, layer: int) -> np.ndarray:
        order, starts = self._sorted
        return order[starts[layer] : starts[layer + 1]]

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.layer, kind="stable")
        return order, np.searchsorted(self.layer[order], np.arange(self.n_layers + 1))


def links_of(looks: Sequence[Tensor], weights: Tensor, singles: Mapping[int, Tensor | None]) -> Links:
    """Columns from those of heads' looks (layer, query, key, head) and their shares, and (layer, pos) shares by kind.

    Kinds that are None are none of the model's; single shares of 0 were not computed, or are nothing.
    """
    residual, mlp, past = singles[RESIDUAL], singles[MLP], singles[PASSING]
    assert residual is not None
    columns = [np.stack([np.full(len(weights), ATTENTION), *(x.numpy() for x in looks)])]
    shares = [weights.double().numpy()]
    for kind, values in singles.items():
        if values is not None:
            layer, pos = (x.numpy() for x in (values > 0).nonzero(as_tuple=True))
            columns.append(np.stack([np.full_like(pos, kind), layer, pos, pos, np.full_like(pos, -1)]))
            shares.append(values.double().numpy()[layer, pos])
    kind, layer, query, key, head = np.concatenate(columns, 1)
    return Links(
        kind=kind, layer=layer, query=query, key=key, head=head, share=np.concatenate(shares),
        n_layers=residual.shape[0], n_positions=residual.shape[1],
        stages=stages(mlps=mlp is not None, parallel=mlp is not None and past is None),
    )  # fmt: skip
