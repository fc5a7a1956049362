"""Sums modulo p, part of them for training, part of those with labels drawn at random."""

from dataclasses import dataclass

import torch
from torch import Tensor

GROUPS = ("corrupted", "uncorrupted", "train", "test")
"""Training pairs with a random label, training pairs with the sum, both, and pairs that were never trained."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Sums:
    """All p^2 pairs in order, the label of each, and what each is for."""

    p: int
    pairs: Tensor
    """(pair, 2), whole numbers below p; pair a * p + b."""
    labels: Tensor
    """(pair); the sum modulo p but for corrupted pairs, whose label may be the sum by chance, once in p."""
    corrupted: Tensor
    """(pair), true or false; so are the next three."""
    uncorrupted: Tensor
    test: Tensor

    @property
    def train(self) -> Tensor:
        """The pairs that are trained."""
        return self.corrupted | self.uncorrupted

    def accuracies(self, outputs: Tensor) -> dict[str, float]:
        """Share of each group whose largest output (pair, p) is at its label; NaN for a group without pairs."""
        hit = (outputs.argmax(-1) == self.labels).double()
        return {group: hit[getattr(self, group)].mean().item() for group in GROUPS}


def corrupted_sums(p: int, *, corrupted: float, train_share: float, generator: torch.Generator) -> Sums:
    """Draw which pairs are trained, which of those are corrupted, and what their labels are."""
    first = torch.arange(p)
    pairs = torch.cartesian_prod(first, first)
    labels = pairs.sum(-1) % p
    order = torch.randperm(len(pairs), generator=generator)
    n_train = int(train_share * len(pairs))
    n_corrupted = int(corrupted * n_train)
    wrong, right, test = order[:n_corrupted], order[n_corrupted:n_train], order[n_train:]
    labels[wrong] = torch.randint(p, (n_corrupted,), generator=generator)
    masks = {
        name: torch.zeros(len(pairs), dtype=torch.bool).index_fill_(0, chosen, True)
        for name, chosen in (("corrupted", wrong), ("uncorrupted", right), ("test", test))
    }
    return Sums(p=p, pairs=pairs, labels=labels, **masks)
