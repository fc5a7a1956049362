"""Which neurons are waves, and what becomes of the answers when neurons are taken out one after the other."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from case_studies.corrupted_labels.data import Sums
from case_studies.corrupted_labels.network import QuadraticNetwork
from workbench import functional

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""
SHARES = tuple(step / 10 for step in range(11))


@dataclass(frozen=True, eq=False, kw_only=True)
class Neurons:
    """Neurons that are added up: outputs = rest + hidden @ out."""

    hidden: Tensor
    """(pair, neuron)"""
    out: Tensor
    """(neuron, p)"""
    rest: Tensor
    """(pair, p), or (p) where it is the same for all: what is there without any neuron."""
    ipr: Tensor
    """(neuron); NaN for dead ones."""

    @property
    def dead(self) -> int:
        """How many neurons have a table of a norm below 1e-8."""
        return int(self.ipr.isnan().sum())

    @property
    def alive(self) -> Tensor:
        """The IPR of those that are not."""
        return self.ipr[~self.ipr.isnan()]


def ipr(tables: list[Tensor], *, constant: bool = True) -> Tensor:
    """Mean inverse participation ratio of each neuron over its tables (p, neuron); NaN where one of them is dead."""
    each = [functional.inverse_participation_ratio(table, 0, constant=constant) for table in tables]
    return torch.stack(each).mean(0)


@torch.no_grad()
def of_network(network: QuadraticNetwork, sums: Sums) -> Neurons:
    """The neurons of the quadratic network, the constant part of their tables counted as the paper does."""
    return Neurons(
        hidden=network.hidden(sums.pairs),
        out=network.out.T,
        rest=network.out.new_zeros(sums.p),
        ipr=ipr([network.left, network.right, network.out]),
    )


def orders(scores: Tensor, draws: int, seed: int) -> dict[str, list[Tensor]]:
    """Low scores first, high scores first, and as a control at random; dead ones first in each."""
    return {
        "low IPR first": [functional.pruning_order(scores, "lowest")],
        "high IPR first": [functional.pruning_order(scores, "highest")],
        "at random": [functional.pruning_order(scores, "random", seed=seed + draw) for draw in range(draws)],
    }


@torch.no_grad()
def pruned(neurons: Neurons, sums: Sums, order: Tensor, shares: tuple[float, ...] = SHARES) -> Table:
    """The accuracy of each group when the first neurons of an order are taken out; nothing is trained after.

    One row a share. Outputs are a sum over neurons, so that all shares together cost one pass: from the end of the
    order to its beginning, each block is added once.
    """
    counts = [round(share * len(order)) for share in shares]
    outputs = neurons.rest.expand(len(sums.pairs), -1).clone()
    rows, end = [], len(order)
    for share, count in sorted(zip(shares, counts, strict=True), reverse=True):
        back = order[count:end]
        outputs += neurons.hidden[:, back] @ neurons.out[back]
        end = count
        rows.append({"pruned": share, **sums.accuracies(outputs)})
    return pd.DataFrame(rows[::-1])


def curves(neurons: Neurons, sums: Sums, *, scores: Tensor | None = None, draws: int = 5, seed: int = 0) -> Table:
    """The three ways of pruning, one row for each share; at random, the mean over several orders.

    `scores` takes the place of the IPR.
    """
    given = neurons.ipr if scores is None else scores
    tables = []
    for name, each in orders(given, draws, seed).items():
        found: Table = pd.concat([pruned(neurons, sums, order) for order in each])
        tables.append(found.groupby("pruned", as_index=False).mean().assign(order=name))
    return pd.concat(tables, ignore_index=True)
