"""What a training watches: that a loss can be gone back from, and that losses and weights stay finite."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import BadInput, BadWeights
from workbench.models.weights import not_finite

TOGETHER = 50
"""Losses on a GPU that are looked at together, since looking at each would wait for it."""


def going_back(value: Any, step: int) -> Tensor:
    """The loss as it is, or a sentence where no gradient can be had of it."""
    need = "loss(module, step) must give a tensor of one number, made of the module's weights"
    if not isinstance(value, Tensor):
        raise BadInput(f"At step {step} loss gave {_called(value)}; {need}: no .item() or float() around it.")
    if value.numel() != 1:
        raise BadInput(f"At step {step} loss gave a tensor of shape {tuple(value.shape)}; {need}, as by .mean().")
    if value.is_complex():
        raise BadInput(f"At step {step} loss gave a complex number; {need}, and real.")
    if not value.requires_grad:
        raise BadInput(
            f"At step {step} loss gave a tensor without gradient; {need}: no .detach(), torch.no_grad() or argmax on "
            "the way, and at least one of the weights must be trainable."
        )
    return value


class Losses:
    """The losses since they were last looked at: on a CPU none, elsewhere a few, which are copied there."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, Tensor]] = []

    def add(self, value: Tensor, step: int) -> None:
        """Take the loss of a step; raises `BadWeights` for the first that is not finite, once it is looked at."""
        self._kept.append((step, value.detach().reshape(()).clone()))
        if value.is_cpu or len(self._kept) >= TOGETHER:
            self.look()

    def look(self) -> None:
        """Look at those that were not looked at yet."""
        kept, self._kept = self._kept, []
        if not kept:
            return
        for (step, _), value in zip(kept, torch.stack([value for _, value in kept]).tolist(), strict=True):
            if not math.isfinite(value):
                raise _diverged(step, f"its loss is {value}")


def check_weights(module: nn.Module, step: int) -> None:
    """Raise `BadWeights` where any weight is NaN or infinite."""
    if any(True for _ in not_finite(module)):
        raise _diverged(step, "its weights are not finite")


def _diverged(step: int, what: str) -> BadWeights:
    if step == 0:
        return BadWeights(f"The training cannot begin: before the first step {what}. Look at the weights and the data.")
    return BadWeights(
        f"The training has diverged: after {step} step{'s' * (step > 1)} {what}. What was written before is left as it "
        "is; try a smaller learning rate, or clip the gradient."
    )


def _called(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
