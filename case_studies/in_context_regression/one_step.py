"""One layer of linear self-attention against one step of gradient descent: answers, weights, and other inputs."""

from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

import workbench
from case_studies.in_context_regression.train import LINEAR, drawn
from case_studies.in_context_regression.transformers import predictor
from workbench import functional
from workbench.functional import LinearAttentionWeights, RegressionProblems

Table = Any
RANGES = (0.5, 1.0, 1.5, 2.0)
"""How far inputs reach: -a to a; 1 in training."""
SHIFTS = {
    "as in training": {},
    "tasks: weights twice as large": {"weight_scale": 2.0},
    "queries twice as large": {"query_scale": 2.0},
    "covariates: a scale of its own for each prompt": {"covariate_shift": 0.4},
}


def problems(count: int, seed: int, **shift: float) -> RegressionProblems:
    """Problems as the linear layer was trained on, or shifted."""
    return functional.regression_problems(count, LINEAR.n, LINEAR.d, inputs="uniform", seed=seed, **shift)


def fitted_step(seed: int) -> float:
    """The step size that is best on problems that nothing is measured on."""
    given = problems(10_000, seed + 10**6)
    return functional.best_step_size(given.x, given.y, given.query, given.target)


def loss_in_training(step_size: float) -> float:
    """The loss of one step of descent on the problems that losses are measured on over training."""
    x, y, queries, answers = drawn(LINEAR, 2000, 2**40)
    said = functional.gradient_descent(x, y, queries[:, 0], step_size=step_size)
    return (said - answers[:, 0]).square().mean().item()


def compared(module: Any, step_size: float, count: int, seed: int) -> workbench.Result:
    """The module against one step of gradient descent, two steps and least squares."""
    given = problems(count, seed)
    once = partial(functional.gradient_descent, step_size=step_size)
    twice = functional.best_step_size(given.x, given.y, given.query, given.target, steps=2)
    algorithms = {
        "one step": once,
        "two steps": partial(functional.gradient_descent, step_size=twice, steps=2),
        "ridge": partial(functional.ridge, penalty=1.0),
        "nothing": lambda x, y, query: 0 * query[:, 0],
    }
    return workbench.compare_algorithms(
        predictor(module),
        algorithms,
        given.x,
        given.y,
        given.query,
        given.target,
        fresh=LINEAR.d,
        resamples=300,
        seed=seed,
    )


def product(weights: LinearAttentionWeights) -> Float[Tensor, "read key query"]:
    """All of a layer that its answers depend on: what is read of a key, times how keys and queries are matched.

    The answer is the sum over examples e of e_i e_j query_k product[i, j, k]; only its part that does not change when i
    and j are exchanged counts. Unlike the matrices, it has no scale or sign to choose.
    """
    read = -weights.value[-1]
    whole = torch.einsum("i,jk->ijk", read, weights.key_query[:, :-1])
    return (whole + whole.transpose(0, 1)) / 2


def in_step(weights: LinearAttentionWeights, d: int) -> LinearAttentionWeights:
    """The same layer with the scale (and sign) of the construction: key_query has the trace d on the inputs.

    What the answers do not depend on, how the examples are rewritten and how labels match as queries, is left out.
    """
    scale = weights.key_query[:d, :d].trace() / d
    key_query, value = weights.key_query / scale, torch.zeros_like(weights.value)
    value[-1] = weights.value[-1] * scale
    return LinearAttentionWeights(key_query=key_query, value=value)


def between(a: LinearAttentionWeights, b: LinearAttentionWeights, share: float) -> LinearAttentionWeights:
    """Weights on the straight line from one layer to another."""
    return LinearAttentionWeights(
        key_query=torch.lerp(a.key_query, b.key_query, share), value=torch.lerp(a.value, b.value, share)
    )


@torch.no_grad()
def interpolation_table(module: Any, step_size: float, count: int, seed: int) -> Table:
    """The loss of layers between the trained one (0) and the construction (1), each at the same scale."""
    given = problems(count, seed)
    trained = in_step(module.weights(), LINEAR.d)
    made = functional.descent_attention(LINEAR.d, LINEAR.n, step_size=step_size)
    rows = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        said = functional.in_context_prediction(given.x, given.y, given.query, between(trained, made, share))
        rows.append({"share": share, "loss": (said - given.target).square().mean().item()})
    return pd.DataFrame(rows)


@torch.no_grad()
def shift_table(module: Any, step_size: float, count: int, seed: int) -> Table:
    """Losses of the layer, of one step of the same size, and of least squares, on inputs and tasks not trained on.

    Losses are over the mean square of the right answers: 1 is what saying nothing gets.
    """
    cases = SHIFTS | {f"range {reach:g}": {"input_scale": reach} for reach in RANGES}
    rows = []
    for name, shift in cases.items():
        given = problems(count, seed, **shift)
        asked = (given.x, given.y, given.query)
        answers = {
            "trained layer": module(given.x, given.y, given.query[:, None])[:, 0],
            "one step": functional.gradient_descent(*asked, step_size=step_size),
            "ridge": functional.ridge(*asked, penalty=1e-3),
        }
        size = given.target.square().mean()
        losses = {who: ((said - given.target).square().mean() / size).item() for who, said in answers.items()}
        apart = ((answers["trained layer"] - answers["one step"]).square().mean() / size).item()
        rows.append({"case": name, **losses, "apart": apart})
    return pd.DataFrame(rows)


def numbers(module: Any, seed: int, *, count: int = 600) -> tuple[dict[str, float], dict[str, Table], Any]:
    """The numbers that claims are about, the tables they are from, and the comparison."""
    step_size = fitted_step(seed)
    found: Any = compared(module, step_size, count, seed + 10**7)
    made = functional.descent_attention(LINEAR.d, LINEAR.n, step_size=step_size)
    with torch.no_grad():
        own, theirs = product(module.weights()).flatten(), product(made).flatten()
        cosine = torch.cosine_similarity(own, theirs, dim=0).item()
    line = interpolation_table(module, step_size, count, seed + 10**7)
    shifts = shift_table(module, step_size, count, seed + 10**7)
    losses = found.loss.mean(-1).tolist()
    of = shifts.set_index("case")
    covariates = "covariates: a scale of its own for each prompt"
    numbers = {
        "loss": losses[-1],
        "loss_over_one_step": losses[-1] / losses[0],
        "answers_apart": (found.distance[0].mean() / found.square).item() if found.square else 1.0,
        "cosine": found.cosine[0].nanmean().item(),
        "sensitivity_apart": found.sensitivity[0].mean().item(),
        "closest_is_one_step": float(found.closest("distance") == "one step" and float(found.lead().low) > 0),
        "weights_cosine": cosine,
        "loss_between": line["loss"].max() / max(line["loss"].iloc[0], line["loss"].iloc[-1]),
        "apart_at_other_ranges": float(of.loc[[f"range {reach:g}" for reach in RANGES], "apart"].max()),
        "task_shift": of.loc["tasks: weights twice as large", "trained layer"]
        / of.loc["as in training", "trained layer"],
        "query_shift": of.loc["queries twice as large", "trained layer"] / of.loc["as in training", "trained layer"],
        "covariate_shift": of.loc[covariates, "trained layer"] / of.loc["as in training", "trained layer"],
        "covariate_shift_ridge": of.loc[covariates, "ridge"] / of.loc["as in training", "ridge"],
        "step_size": step_size,
    }
    return numbers, {"Between": line, "Shifts": shifts}, found
