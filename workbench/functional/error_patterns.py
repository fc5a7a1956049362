"""How answers that are numbers go wrong: by whole tens, or by a little."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import not_finite

STEPS = (10, 50, 100)
"""The multiples that Zhou et al. (2024) count errors in."""
NEAR = 6
"""Their bound of a small error."""
_ROUNDING = 1e-6  # of a step, that values with a fraction may be off by


@dataclass(frozen=True, eq=False, kw_only=True)
class ErrorPattern:
    """How often answers are right, and how those that are wrong are wrong; shares of no errors are NaN."""

    accuracy: Float[Tensor, "*batch"]
    """Share of answers that are right; NaN where there are none."""
    examples: Int[Tensor, "*batch"]
    errors: Int[Tensor, "*batch"]
    """Answers that are wrong: what the shares below are of."""
    multiples: Float[Tensor, "*batch step"]
    """Share of the errors that are a multiple of each step."""
    near: Float[Tensor, "*batch"]
    """Share of the errors whose size is below `near`."""
    mean_size: Float[Tensor, "*batch"]
    """Mean size of the errors, in units of the values."""


def error_pattern(
    predicted: Real[Tensor, "*#batch example"],
    right: Real[Tensor, "*#batch example"],
    steps: Sequence[float | int] = STEPS,
    near: float | int = NEAR,
) -> ErrorPattern:
    """How far off answers are: the share of errors that are whole tens, fifties and hundreds, and of small ones.

    Without low frequencies the errors of Zhou et al. (2024) are multiples of 10, 50 and 100, without high ones they are
    less than 6. By chance, a tenth of errors are multiples of 10.
    """
    if predicted.shape[-1:] != right.shape[-1:] or not predicted.ndim:
        raise BadInput(f"There are answers of shape {tuple(predicted.shape)} for {tuple(right.shape)} right ones.")
    if wrong := [step for step in steps if not step > 0]:
        raise BadInput(f"Errors are counted in multiples of numbers above 0, not of {wrong[0]}.")
    predicted, right = torch.broadcast_tensors(predicted.double(), right.double())
    if bad := not_finite((predicted - right)[..., None]):
        raise BadInput(f"{bad} answers are no finite numbers: leave them out, and say how many.")
    off = predicted - right
    is_error = off != 0
    errors = is_error.sum(-1)

    def share(which: Tensor) -> Tensor:
        return (which & is_error).sum(-1).double() / errors

    turns = [off / step for step in steps]
    multiples = [share((turn - turn.round()).abs() < _ROUNDING) for turn in turns]
    return ErrorPattern(
        accuracy=(~is_error).double().mean(-1),
        examples=torch.full_like(errors, off.shape[-1]),
        errors=errors,
        multiples=torch.stack(multiples, -1) if multiples else off.new_zeros(*errors.shape, 0),
        near=share(off.abs() < near),
        mean_size=off.abs().sum(-1) / errors,
    )
