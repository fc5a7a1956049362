"""Algorithms that learn a linear function from examples: gradient descent, ridge, least squares, the Bayes posterior.

Those that are linear in the query give their weights w, which are also the exact sensitivity of the prediction
w . query to the query. Half precision is computed in float32.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole
from workbench.functional.precision import precise_type


def gradient_descent_weights(
    x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch n"], *, step_size: float, steps: int = 1
) -> Float[Tensor, "*batch d"]:
    """Where gradient descent from zero on (1 / 2n) sum (w . x - y)^2 is after `steps` steps of one size.

    One step gives (step_size / n) sum y x; with a step size of 1 that is the averaging estimator of Garg et al. (2022).
    """
    return preconditioned_descent_weights(x, y, step_size=step_size, shrink=0.0, steps=steps)


def preconditioned_descent_weights(
    x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch n"], *, step_size: float, shrink: float, steps: int = 1
) -> Float[Tensor, "*batch d"]:
    """GD++: gradient descent whose inputs, the query too, are multiplied by I - shrink X'X / n in each step.

    What inputs have in common shrinks, so that later steps see a better conditioned problem; the weights given are
    those of the query as it came. `shrink` 0 is gradient descent. Von Oswald et al. (2023), Transformers Learn
    In-Context by Gradient Descent; n times their gamma is `shrink`.
    """
    x, y = _problems(x, y)
    need_whole("steps", steps)
    if steps < 0 or not math.isfinite(step_size) or not math.isfinite(shrink):
        raise BadInput(
            f"Descent takes 0 steps or more, of a finite size and shrink: {steps} steps, {step_size}, {shrink}."
        )
    n, d = x.shape[-2:]
    through = torch.eye(d, dtype=x.dtype, device=x.device).expand(*x.shape[:-2], d, d)  # the query as step k sees it
    weights, left = x.new_zeros(*x.shape[:-2], d), y
    for _ in range(steps):
        step = (step_size / n) * (left[..., None] * x).sum(-2)
        weights = weights + (through.mT @ step[..., None])[..., 0]
        left = left - (x @ step[..., None])[..., 0]
        if shrink:
            x, through = x - (shrink / n) * x @ (x.mT @ x), through - (shrink / n) * (x.mT @ x) @ through
    return weights


def ridge_weights(
    x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch n"], *, penalty: float
) -> Float[Tensor, "*batch d"]:
    """The weights that minimise sum (w . x - y)^2 + penalty |w|^2; at penalty 0 the shortest least-squares solution.

    By the singular values of the inputs: what they leave open (values below the rounding of the largest) is 0.
    """
    x, y = _problems(x, y)
    if not 0 <= penalty < math.inf:
        raise BadInput(f"The penalty of ridge regression is finite and not negative, not {penalty}.")
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    there = values > _rounding(x) * values[..., :1]
    factors = torch.where(there, values / (values**2 + penalty).where(there, 1.0), 0.0)
    return (right.mT @ (factors[..., None] * (left.mT @ y[..., None])))[..., 0]


def least_squares_weights(x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch d"]:
    """The weights of least squares: with fewer examples than dimensions, the shortest that fit."""
    return ridge_weights(x, y, penalty=0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightPosterior:
    """What examples say of the weights: a normal distribution."""

    mean: Float[Tensor, "*batch d"]
    covariance: Float[Tensor, "*batch d d"]


def bayes_posterior(
    x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch n"], *, noise: float, prior: float = 1.0
) -> WeightPosterior:
    """The weights given the examples, for weights drawn from N(0, prior^2) and labels with noise N(0, noise^2).

    The mean is ridge regression with penalty (noise / prior)^2; without noise, directions that no example shows keep
    the prior. No predictor has a lower expected squared error than query . mean; query' covariance query (+ noise^2
    for a noisy label) is that error.
    """
    if not (0 <= noise < math.inf and 0 < prior < math.inf):
        raise BadInput(f"A posterior needs noise >= 0 and prior > 0, both finite: {noise} and {prior}.")
    x, y = _problems(x, y)
    values, right = torch.linalg.svd(x, full_matrices=False)[1:]
    there = values > _rounding(x) * values[..., :1]
    known = torch.where(there, values**2 / (values**2 + (noise / prior) ** 2).where(there, 1.0), 0.0)
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return WeightPosterior(
        mean=ridge_weights(x, y, penalty=(noise / prior) ** 2),
        covariance=prior**2 * (identity - right.mT @ (known[..., None] * right)),
    )


def gradient_descent(
    x: Float[Tensor, "*batch n d"],
    y: Float[Tensor, "*batch n"],
    query: Float[Tensor, "*batch d"],
    *,
    step_size: float,
    steps: int = 1,
) -> Float[Tensor, "*batch"]:
    """What gradient descent from zero answers to a query; `gradient_descent_weights` says by which weights."""
    return _answer(gradient_descent_weights(x, y, step_size=step_size, steps=steps), query)


def preconditioned_descent(
    x: Float[Tensor, "*batch n d"],
    y: Float[Tensor, "*batch n"],
    query: Float[Tensor, "*batch d"],
    *,
    step_size: float,
    shrink: float,
    steps: int = 1,
) -> Float[Tensor, "*batch"]:
    """What GD++ answers to a query; `preconditioned_descent_weights` says by which weights."""
    return _answer(preconditioned_descent_weights(x, y, step_size=step_size, shrink=shrink, steps=steps), query)


def ridge(
    x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch n"], query: Float[Tensor, "*batch d"], *, penalty: float
) -> Float[Tensor, "*batch"]:
    """What ridge regression answers to a query; `ridge_weights` says by which weights."""
    return _answer(ridge_weights(x, y, penalty=penalty), query)


def least_squares(
    x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch n"], query: Float[Tensor, "*batch d"]
) -> Float[Tensor, "*batch"]:
    """What least squares answers to a query; `least_squares_weights` says by which weights."""
    return _answer(least_squares_weights(x, y), query)


def nearest_labels(
    x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch n"], query: Float[Tensor, "*batch d"], *, k: int = 1
) -> Float[Tensor, "*batch"]:
    """The mean label of the k examples nearest to the query; with k = n the mean label. Its sensitivity is 0."""
    x, y = _problems(x, y)
    need_whole("k", k)
    if not 1 <= k <= x.shape[-2]:
        raise BadInput(f"k is from 1 to the number of examples, {x.shape[-2]}, not {k}.")
    nearest = (x - query[..., None, :].to(x)).square().sum(-1).topk(k, largest=False).indices
    return y.gather(-1, nearest).mean(-1)


def _answer(weights: Tensor, query: Tensor) -> Tensor:
    return (weights * query.to(weights)).sum(-1)


def _problems(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype of at least 32 bits; refuses shapes that do not belong together."""
    if x.ndim < 2 or y.shape != x.shape[:-1] or 0 in x.shape[-2:]:
        raise BadInput(
            f"Examples are inputs (*, n, d) and labels (*, n), one or more: these are {tuple(x.shape)} and"
            f" {tuple(y.shape)}."
        )
    dtype = precise_type(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def _rounding(x: Tensor) -> float:
    return max(x.shape[-2:]) * torch.finfo(x.dtype).eps
