"""Steering: a direction of the stream held at a value while the model runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.errors import BadInput
from workbench.hooks import editing
from workbench.models.lens_model import LensModel


@contextmanager
def steering(
    model: LensModel,
    site: str,
    direction: Float[Tensor, "d_model *rank"],
    value: float | Float[Tensor, "rank"],
    *,
    position: int | None = None,
) -> Iterator[None]:
    """Hold a direction at a value on every forward pass inside the block; what stands across it is left alone.

    `site` is one of the stream or of what is added to it ("blocks.5.resid_post"), `direction` of length one
    (`workbench.functional.orthonormal` brings it there), `value` in units of the stream. `position` counts from 0,
    negative from the end; None is all of them. The model is left exactly as it was, also on error.
    """
    axes = model.site(site).shape
    if axes != ("batch", "pos", "d_model"):
        raise BadInput(f"{site!r} is {axes}: a direction is held where there is (batch, pos, d_model).")
    width = model.stack_of(site).sizes.d_model
    if direction.ndim not in (1, 2) or direction.shape[0] != width:
        raise BadInput(f"{site!r} has {width} dimensions; the direction is of shape {tuple(direction.shape)}.")
    functional.steer(torch.zeros(width, dtype=direction.dtype, device=direction.device), direction, value)  # or why not

    def hold(stream: Tensor) -> Tensor:
        if position is None:
            return functional.steer(stream, direction, value).to(stream)
        n = stream.shape[1]
        if not -n <= position < n:
            raise BadInput(f"There is no position {position} to steer at: there are {n}, 0 to {n - 1}.")
        steered = stream.clone()
        steered[:, position] = functional.steer(stream[:, position], direction, value).to(stream)
        return steered

    with editing(model, {site: hold}):
        yield
