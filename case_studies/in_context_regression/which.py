"""Which algorithm a softmax transformer runs: gradient descent, ridge regression or least squares."""

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

import workbench
from case_studies.in_context_regression.train import SETTINGS, TrainConfig
from case_studies.in_context_regression.transformers import predictor
from workbench import functional
from workbench.functional import RegressionProblems

Table = Any
STEPS = (1, 2, 4, 8)
PENALTIES = tuple(float(p) for p in np.logspace(-3, 1.5, 19))

TINY = 1e-9
"""The least distance that another is divided by."""


def problems(config: TrainConfig, count: int, seed: int, *, noise: float | None = None) -> RegressionProblems:
    """Problems as a model was trained on, or of another noise."""
    return functional.regression_problems(
        count, config.n, config.d, inputs=config.inputs, noise=config.noise if noise is None else noise, seed=seed
    )


@cache
def step_size(noise: float, steps: int) -> float:
    """The best size of that many steps of descent, on problems that nothing is measured on."""
    drawn = problems(SETTINGS["softmax-1-0.0"], 1000, 10**6, noise=noise)
    return functional.best_step_size(drawn.x, drawn.y, drawn.query, drawn.target, steps=steps)


def algorithms(config: TrainConfig) -> dict[str, Any]:
    """Descent with the step sizes that are best at this noise, ridge of two penalties, least squares, nothing."""
    sizes = {steps: step_size(config.noise, steps) for steps in STEPS}
    found: dict[str, Any] = {
        f"descent, {steps} step{'s' * (steps > 1)}": partial(functional.gradient_descent, step_size=size, steps=steps)
        for steps, size in sizes.items()
    }
    found |= {f"ridge, penalty {penalty:g}": partial(functional.ridge, penalty=penalty) for penalty in (0.25, 1.0)}
    return {**found, "least squares": functional.least_squares, "nothing": lambda x, y, query: 0 * query[:, 0]}


@torch.no_grad()
def fitted_penalty(module: Any, drawn: RegressionProblems) -> float:
    """The penalty with which ridge regression comes nearest to the module's answers; the largest tried is 32."""
    said = module(drawn.x, drawn.y, drawn.query[:, None])[:, 0]
    left, values, right = torch.linalg.svd(drawn.x, full_matrices=False)  # of all penalties at once
    labels, query = (left.mT @ drawn.y[..., None])[..., 0], (right @ drawn.query[..., None])[..., 0]
    far = [((values / (values**2 + p) * labels * query).sum(-1) - said).square().mean() for p in PENALTIES]
    return PENALTIES[int(torch.stack(far).argmin())]


def numbers(
    module: Any, config: TrainConfig, seed: int, *, count: int = 400
) -> tuple[dict[str, float], dict[str, Any]]:
    """The numbers that claims are about; distances from all algorithms, over the mean square of the right answers."""
    drawn = problems(config, count, seed + 10**7)
    found = workbench.compare_algorithms(
        predictor(module), algorithms(config), drawn.x, drawn.y, drawn.query, drawn.target,
        fresh=config.d + 1, resamples=200, seed=seed,
    )  # fmt: skip
    far = dict(zip(found.algorithms, (found.distance.mean(-1) / drawn.target.square().mean()).tolist(), strict=True))
    bayes = functional.bayes_posterior(drawn.x, drawn.y, noise=config.noise).mean
    best = ((bayes * drawn.query).sum(-1) - drawn.target).square().mean().item()
    loss = float(found.to_frame().query("measure == 'loss'")["value"].iloc[-1])
    descent = min(value for name, value in far.items() if name.startswith("descent"))
    ridge = min(value for name, value in far.items() if name.startswith("ridge"))
    numbers = {
        "loss": loss,
        "loss_over_nothing": loss / drawn.target.square().mean().item(),
        "excess": loss - best,
        "to_descent": descent,
        "to_one_step": far["descent, 1 step"],
        "to_ridge": ridge,
        "to_least_squares": far["least squares"],
        "least_squares_ahead": min(descent, ridge) / max(far["least squares"], TINY),
        "ridge_ahead": min(descent, far["least squares"]) / max(ridge, TINY),
        "descent_ahead": min(ridge, far["least squares"]) / max(descent, TINY),
        "penalty": fitted_penalty(module, drawn),
        "penalty_without_noise": fitted_penalty(module, problems(config, count, seed + 10**7, noise=0.0)),
        "linear": found.explained.mean().item(),
    }
    closest = {"closest": found.closest(), "beyond": bool(found.lead().low > 0)}
    return numbers, {"depth": config.n_layers, "noise": config.noise, **far, **closest, "penalty": numbers["penalty"]}


@torch.no_grad()
def probe_table(module: Any, config: TrainConfig, seed: int, *, count: int = 1200, penalty: float = 1e-2) -> Table:
    """How well a linear reader of the examples' mean state finds X'y / n and the least-squares weights, by layer.

    R squared on a third of the problems, that the reader has not seen; `of another problem` is the control.
    """
    drawn = problems(config, count, seed + 10**7)
    moment = torch.einsum("pnd,pn->pd", drawn.x, drawn.y) / config.n
    targets = {
        "X'y / n": moment,
        "least-squares weights": functional.least_squares_weights(drawn.x, drawn.y),
        "X'y / n of another problem": moment.roll(1, 0),
    }
    rows = []
    for layer, state in enumerate(module.states(drawn.x, drawn.y, drawn.query[:, None])):
        features = state[:, : config.n].mean(1)
        for name, target in targets.items():
            rows.append({"layer": layer, "target": name, "r2": _held_out(features, target, penalty)})
    return pd.DataFrame(rows)


def _held_out(features: torch.Tensor, target: torch.Tensor, penalty: float) -> float:
    cut = 2 * len(features) // 3
    mean, spread = features[:cut].mean(0), features[:cut].std(0) + 1e-6
    z = torch.cat([(features - mean) / spread, torch.ones(len(features), 1)], -1).double()
    goal = target.double()
    gram = z[:cut].T @ z[:cut] + penalty * cut * torch.eye(z.shape[1], dtype=torch.double)
    weights = torch.linalg.solve(gram, z[:cut].T @ goal[:cut])
    left = (z[cut:] @ weights - goal[cut:]).square().sum()
    return float(1 - left / (goal[cut:] - goal[:cut].mean(0)).square().sum())
