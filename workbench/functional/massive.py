"""Massive activations: the few coordinates of a state that outgrow all others, and what stands elsewhere instead."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_mask
from workbench.functional.precision import precise

MASSIVE_SIZE = 100.0
"""What a massive activation exceeds in size ..."""
MASSIVE_RATIO = 1000.0
"""... and how many times the median size of its state it is at least; Sun et al. (2024)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LargestEntries:
    """The largest entries of a state, the largest first."""

    value: Float[Tensor, "*batch k"]
    """With its sign."""
    position: Int[Tensor, "*batch k"]
    dimension: Int[Tensor, "*batch k"]
    median: Float[Tensor, "*batch"]
    """Median size of all entries of the state."""

    @property
    def ratio(self) -> Float[Tensor, "*batch k"]:
        """Sizes over the median; NaN where the median is 0."""
        median = self.median[..., None]
        return torch.where(median > 0, self.value.abs() / median, torch.nan)


def largest_entries(states: Float[Tensor, "*batch pos d"], k: int = 3) -> LargestEntries:
    """Give the k entries of largest size of each state (a position's row each), where they are, and the median size."""
    _need_entries(states)
    if not 1 <= k <= states.shape[-2] * states.shape[-1]:
        raise BadInput(f"A state of {states.shape[-2] * states.shape[-1]} entries has no {k} largest.")
    flat = precise(states).flatten(-2)
    at = flat.abs().topk(k, -1).indices
    d = states.shape[-1]
    return LargestEntries(value=flat.gather(-1, at), position=at // d, dimension=at % d, median=median_size(states))


def median_size(states: Float[Tensor, "*batch pos d"]) -> Float[Tensor, "*batch"]:
    """Median size |h| of all entries of each state; of an even number the lower of the two in the middle."""
    _need_entries(states)
    return precise(states).flatten(-2).abs().median(-1).values


def is_massive(
    states: Float[Tensor, "*batch pos d"], *, absolute: float = MASSIVE_SIZE, ratio: float = MASSIVE_RATIO
) -> Bool[Tensor, "*batch pos d"]:
    """Which entries are massive: larger than `absolute` in size, and at least `ratio` times the median of their state.

    A state has all positions of one input: few positions make the median unsteady. States after the final norm have
    none, and many models have none at all: nothing is found then, which is an answer. Half precision is read as it is,
    rounded. Sun et al. (2024), "Massive Activations in Large Language Models", who say "around 1000 times".
    """
    sizes = precise(states).abs()
    return (sizes > absolute) & (sizes >= ratio * median_size(states)[..., None, None])


def set_coordinates(
    states: Float[Tensor, "*batch pos d"], at: Int[Tensor, "found 2"], values: Float[Tensor, "found"] | float
) -> Float[Tensor, "*batch pos d"]:
    """Give the states with other values at the coordinates (position, dimension), in every row of the batch."""
    new = states.clone()
    values = torch.as_tensor(values, device=states.device).to(states.dtype)
    at = at.to(states.device)
    new[..., at[:, 0], at[:, 1]] = values
    return new


def random_coordinates(mask: Bool[Tensor, "pos d"], count: int, *, seed: int) -> Int[Tensor, "count 2"]:
    """Draw `count` different coordinates where the mask is false: a control for those where it is true."""
    need_mask(mask)
    free = (~mask).nonzero()
    if count > len(free):
        raise BadInput(f"{count} coordinates cannot be drawn from {len(free)} that are free.")
    order = torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))[:count]
    return free[order.to(free.device)]


def next_largest(state: Float[Tensor, "pos d"], mask: Bool[Tensor, "pos d"], count: int) -> Int[Tensor, "count 2"]:
    """The `count` largest entries where the mask is false: a control that is as unusual as can be had."""
    need_mask(mask)
    if count > int((~mask).sum()):
        raise BadInput(f"There are only {int((~mask).sum())} other coordinates, not {count}.")
    at = precise(state).abs().masked_fill(mask, -1).flatten().topk(count).indices
    return torch.stack([at // state.shape[-1], at % state.shape[-1]], -1)


def coefficient_of_variation(values: Float[Tensor, "input *rest"]) -> Float[Tensor, "*rest"]:
    """How much values change from input to input: standard deviation (n - 1) over the size of the mean.

    Near 0 is a constant. NaN with fewer than two inputs or a mean of 0.
    """
    values = precise(values)
    if len(values) < 2:
        return torch.full(values.shape[1:], torch.nan, dtype=values.dtype, device=values.device)
    mean = values.mean(0)
    return torch.where(mean != 0, values.std(0) / mean.abs(), torch.nan)


def _need_entries(states: Tensor) -> None:
    need_axes("States", states, "pos d")
    if not states.shape[-1] * states.shape[-2]:
        raise BadInput(f"A state of shape {tuple(states.shape)} has no entries.")
