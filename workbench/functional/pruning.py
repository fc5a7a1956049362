"""In which order neurons are removed: by a score, its lowest or highest first, or at random; the dead before all."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput


def pruning_order(
    scores: Float[Tensor, "neuron"], by: Literal["lowest", "highest", "random"] = "lowest", *, seed: int = 0
) -> Int[Tensor, "neuron"]:
    """Which neuron is removed first, second and so on: those of no score (NaN: the dead) before all others.

    Equal scores in the order of their numbers; "random" looks at which are dead and at nothing else.
    """
    if by == "random":
        value = torch.rand(len(scores), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    elif by in ("lowest", "highest"):
        value = scores.double().cpu() * (1 if by == "lowest" else -1)
    else:
        raise BadInput(f"Neurons are removed by 'lowest', 'highest' or 'random', not {by!r}.")
    return value.masked_fill(scores.isnan().cpu(), -torch.inf).argsort(stable=True)
