"""Which numbers differ between one group and the rest, against groups drawn at random."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupDifferences:
    """Of every number, how each group's mean differs from the mean of all others."""

    mean: Float[Tensor, "group number"]
    difference: Float[Tensor, "group number"]
    score: Float[Tensor, "group number"]
    """The difference in standard deviations of those of random groups; 0 where these never differ."""
    p: Float[Tensor, "group number"]
    """Share of random groupings (and this one) in which any number of any group scores as far from 0."""


def group_differences(
    values: Float[Tensor, "sample number"],
    group: Int[Tensor, "sample"],
    unit: Int[Tensor, "sample"],
    n_groups: int,
    *,
    draws: int = 500,
    seed: int = 0,
) -> GroupDifferences:
    """How groups 0 to n_groups - 1 differ; whole units (samples of one `unit`, as of one text) are drawn together.

    A draw gives each unit the groups of another one, where units are of one group each; else the groups of all samples
    are mixed. p is corrected for all numbers and groups at once: the largest score of each draw is compared.
    """
    sizes = torch.bincount(group, minlength=n_groups)
    if n_groups < 2 or not bool((sizes > 0).all()):
        raise BadInput("Differences need at least two groups, each with a sample.")
    values = values.double()
    mean, difference = _differences(values, group, n_groups)
    generator = torch.Generator().manual_seed(seed)
    units = torch.unique(unit, return_inverse=True)[1]
    of_unit = torch.zeros(int(units.max()) + 1, dtype=torch.long).index_copy_(0, units, group)
    whole = bool((of_unit[units] == group).all()) and len(of_unit) < len(group)
    drawn = []
    for _ in range(draws):
        if whole:
            mixed = of_unit[torch.randperm(len(of_unit), generator=generator)][units]
        else:
            mixed = group[torch.randperm(len(group), generator=generator)]
        drawn.append(_differences(values, mixed, n_groups)[1])
    null = torch.stack(drawn)  # (draw, group, number)
    spread = null.square().mean(0).sqrt()
    there = spread > 1e-12
    score = torch.where(there, difference / spread.where(there, 1.0), 0.0)
    largest = torch.where(there, null / spread.where(there, 1.0), 0.0).abs().flatten(1).amax(1)  # (draw,)
    at_least = (largest[:, None, None] >= score.abs() - 1e-12).sum(0)
    return GroupDifferences(
        mean=mean.float(), difference=difference.float(), score=score.float(), p=((1 + at_least) / (1 + draws)).float()
    )


def _differences(values: Tensor, group: Tensor, n_groups: int) -> tuple[Tensor, Tensor]:
    """Means of each group, and what they are above the mean of all others."""
    member = torch.nn.functional.one_hot(group, n_groups).T.to(values)  # (group, sample)
    inside, count = member @ values, member.sum(1, keepdim=True)
    mean = inside / count.clamp(min=1)
    others = (values.sum(0) - inside) / (len(values) - count).clamp(min=1)
    return mean, mean - others
