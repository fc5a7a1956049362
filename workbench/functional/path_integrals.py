"""Gradients summed up along a straight path from a baseline to the input (Sundararajan et al. 2017).

"Axiomatic Attribution for Deep Networks": the shares of all tokens add up to what the answer differs from the
baseline's (completeness), as nearly as the sum is the integral.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput

Rule = Literal["gauss-legendre", "midpoint"]


def quadrature(
    steps: int, rule: Rule = "gauss-legendre", *, start: float = 0.0, end: float = 1.0
) -> tuple[Float[Tensor, "step"], Float[Tensor, "step"]]:
    """Where to look between `start` and `end`, and the weight of each look: weights add up to `end - start`.

    gauss-legendre is exact for polynomials up to degree 2 * steps - 1, midpoint for straight lines. Double precision.
    """
    if steps < 1:
        raise BadInput(f"A path needs at least 1 step, not {steps}.")
    if rule == "midpoint":
        points = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
        weights = torch.full_like(points, 1 / steps)
    else:
        import numpy as np

        places, heights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
        points, weights = torch.from_numpy((places + 1) / 2), torch.from_numpy(heights / 2)
    return start + (end - start) * points, (end - start) * weights


def path_points(
    values: Float[Tensor, "*shape"], baseline: Float[Tensor, "*shape"], at: Float[Tensor, "step"]
) -> Float[Tensor, "step *shape"]:
    """Points of the straight path: the baseline at 0, the values at 1."""
    share = at.to(values).reshape(-1, *[1] * values.ndim)
    return baseline + share * (values - baseline)


def integrated_gradients(
    values: Float[Tensor, "*token d"],
    baseline: Float[Tensor, "*token d"],
    gradients: Float[Tensor, "step *token d"],
    weights: Float[Tensor, "step"],
) -> Float[Tensor, "*token"]:
    """Each token's share: its way from the baseline times the weighted sum of the gradients at the path's points."""
    mean = torch.einsum("s,s...->...", weights.to(gradients), gradients)
    return ((values - baseline) * mean).sum(-1)
