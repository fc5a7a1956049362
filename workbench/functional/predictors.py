"""What a predictor of in-context regression does, seen from outside: its sensitivity and the weights it implies.

A predictor is any function (x (batch, n, d), y (batch, n), query (batch, d)) -> answers (batch,), such as a trained
model or an algorithm; each problem must be answered by itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole
from workbench.functional.precision import precise
from workbench.functional.regression_algorithms import gradient_descent_weights

Predictor = Callable[[Tensor, Tensor, Tensor], Tensor]
PASSES = 4096
"""Problems that a predictor is given at once where it is asked about several queries of each."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImpliedWeights:
    """The linear function that comes nearest to a predictor's answers to fresh queries, after the same examples."""

    weights: Float[Tensor, "problem d"]
    explained: Float[Tensor, "problem"]
    """Share of the answers' squares that it explains: 1 for a predictor that is linear in the query."""


def answers_of(predict: Predictor, x: Tensor, y: Tensor, query: Tensor) -> Float[Tensor, "problem"]:
    """What a predictor says, or a sentence where that is no finite number for each problem."""
    found = predict(x, y, query)
    if not isinstance(found, Tensor) or found.shape != query.shape[:1]:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise BadInput(f"A predictor gives one answer for each query, a tensor ({len(query)},); this one gave {shape}.")
    if bad := int((~found.detach().isfinite()).sum()):
        raise BadInput(f"{bad} of {len(query)} answers of the predictor are NaN or infinite.")
    return precise(found)


def query_sensitivity(
    predict: Predictor,
    x: Float[Tensor, "problem n d"],
    y: Float[Tensor, "problem n"],
    query: Float[Tensor, "problem d"],
    *,
    difference: float | None = None,
) -> Float[Tensor, "problem d"]:
    """How a predictor's answer changes with the query: its gradient, or central differences of that width.

    For what is linear in the query these are its weights: (step_size / n) sum y x for one step of gradient descent.
    `difference` is for predictors that torch cannot differentiate; it costs 2 d passes and rounding. An answer that
    does not depend on the query has the gradient 0.
    """
    if difference is not None:
        if not 0 < difference < math.inf:
            raise BadInput(f"difference is the width of a step, above 0, not {difference}.")
        columns = []
        for axis in torch.eye(query.shape[-1], dtype=query.dtype, device=query.device):
            up, down = (answers_of(predict, x, y, query + sign * difference / 2 * axis) for sign in (1, -1))
            columns.append((up - down) / difference)
        return torch.stack(columns, -1).detach()
    with torch.enable_grad():
        asked = query.detach().clone().requires_grad_()
        answers = answers_of(predict, x, y, asked)
        if not answers.requires_grad:
            moved = answers_of(predict, x, y, query + 1e-3)
            if (
                moved == answers
            ).double().mean() > 0.9:  # nearest neighbours jump at few places, and are flat elsewhere
                return torch.zeros_like(query)
            raise BadInput(
                "torch cannot differentiate this predictor: let it compute with torch and without no_grad, or give"
                " difference=1e-2 for central differences."
            )
        (slopes,) = torch.autograd.grad(answers.sum(), asked, allow_unused=True)
    return torch.zeros_like(query) if slopes is None else slopes.detach()


@torch.no_grad()
def implied_weights(
    predict: Predictor,
    x: Float[Tensor, "problem n d"],
    y: Float[Tensor, "problem n"],
    queries: Float[Tensor, "problem fresh d"],
) -> ImpliedWeights:
    """The weights that a predictor acts by: least squares on its answers to fresh queries, for each problem.

    There must be as many queries as dimensions, better twice as many or more. Akyürek et al. (2023), What Learning
    Algorithm Is In-Context Learning? (their ILWD is the squared distance of two predictors' implied weights).
    """
    fresh, d = queries.shape[-2:]
    if fresh < d:
        raise BadInput(f"{fresh} queries do not tell {d} weights: give {d} or more, better {2 * d}.")
    step = max(1, PASSES // fresh)
    said = []
    for at in range(0, len(x), step):
        part = slice(at, at + step)
        inputs, labels = (each[part].repeat_interleave(fresh, 0) for each in (x, y))
        said.append(answers_of(predict, inputs, labels, queries[part].flatten(0, 1)).view(-1, fresh))
    answers = torch.cat(said)
    inputs = precise(queries).to(answers)
    weights = torch.linalg.lstsq(inputs, answers[..., None]).solution[..., 0]
    left = (answers - (inputs @ weights[..., None])[..., 0]).square().sum(-1)
    total = answers.square().sum(-1)
    explained = torch.where(total > 0, 1 - left / total.where(total > 0, 1.0), 1.0)
    return ImpliedWeights(weights=weights, explained=explained)


def best_step_size(
    x: Float[Tensor, "problem n d"],
    y: Float[Tensor, "problem n"],
    query: Float[Tensor, "problem d"],
    target: Float[Tensor, "problem"],
    *,
    steps: int = 1,
    most: float | None = None,
) -> float:
    """The step size with which gradient descent answers these problems best, by mean squared error.

    Exact for one step, whose answer is proportional to the step size. For more, a line search from 0 to `most` (twice
    the one-step optimum if None): a grid of 64, then golden sections around its best.
    """
    need_whole("steps", steps)
    if steps < 1:
        raise BadInput(f"A step size is for one step or more, not {steps}.")
    once = (gradient_descent_weights(x, y, step_size=1.0) * query.to(x)).sum(-1)
    if not (once != 0).any():
        raise BadInput("All first steps are zero, of any size: the labels are 0, or the queries are.")
    exact = float((once * target).sum() / once.square().sum())
    if steps == 1:
        return exact

    def loss(size: float) -> float:
        weights = gradient_descent_weights(x, y, step_size=size, steps=steps)
        value = float(((weights * query).sum(-1) - target).square().mean())
        return value if math.isfinite(value) else math.inf

    grid = [(most or 2 * abs(exact)) * k / 64 for k in range(65)]
    best = min(range(65), key=lambda k: loss(grid[k]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, 64)]
    section = (math.sqrt(5) - 1) / 2
    for _ in range(24):
        left, right = high - section * (high - low), low + section * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return (low + high) / 2
