"""Compare algorithms: which algorithm a trained predictor of in-context regression is closest to."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.in_context.comparison_result import AlgorithmComparison
from workbench.errors import BadInput
from workbench.functional import Predictor
from workbench.progress import track


def compare_algorithms(
    predict: Predictor,
    algorithms: Mapping[str, Predictor],
    x: Float[Tensor, "problem n d"],
    y: Float[Tensor, "problem n"],
    query: Float[Tensor, "problem d"],
    target: Float[Tensor, "problem"] | None = None,
    *,
    fresh: int | None = None,
    difference: float | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> AlgorithmComparison:
    """Which of some algorithms a predictor of in-context regression is closest to, by what it does on problems.

        drawn = functional.regression_problems(512, 8, 4, noise=0.5)
        algorithms = {"least squares": functional.least_squares, "ridge": partial(functional.ridge, penalty=0.25)}
        workbench.compare_algorithms(model, algorithms, drawn.x, drawn.y, drawn.query, drawn.target).closest()

    `predict` and the algorithms are functions (x (batch, n, d), y (batch, n), query (batch, d)) -> answers (batch,);
    anything will do that answers each problem by itself. Compared are answers, their derivatives by the query
    (`difference` where torch cannot differentiate) and the weights implied by answers to `fresh` queries (3 d if None),
    which are the problem's query and those of other problems. Intervals are over problems. Costs fresh + 2 passes over
    the problems for each function.
    Von Oswald et al. (2023), Transformers Learn In-Context by Gradient Descent; Akyürek et al. (2023), What Learning
    Algorithm Is In-Context Learning? Investigations with Linear Models.
    """
    if not algorithms:
        raise BadInput("Give one algorithm or more to compare with, as {name: function}.")
    problems, d = _checked(x, y, query, target)
    fresh = 3 * d if fresh is None else fresh
    if not d <= fresh <= problems:
        raise BadInput(
            f"fresh is from d to the number of problems, {d} to {problems}, not {fresh}: give more problems."
        )
    around = torch.stack([query.roll(shift, 0) for shift in range(fresh)], 1)  # (problem, fresh, d)
    found = []
    for function in track([predict, *algorithms.values()], label="algorithms"):
        with torch.no_grad():
            answers = functional.answers_of(function, x, y, query).double()
        slopes = functional.query_sensitivity(function, x, y, query, difference=difference).double()
        found.append((answers, slopes, functional.implied_weights(function, x, y, around)))
    (answers, slopes, implied), rest = found[0], found[1:]
    return AlgorithmComparison(
        algorithms=tuple(algorithms),
        distance=torch.stack([(other - answers).square() for other, _, _ in rest]).cpu(),
        weights=torch.stack([(w.weights - implied.weights).double().square().sum(-1) for _, _, w in rest]).cpu(),
        sensitivity=torch.stack([(other - slopes).norm(dim=-1) for _, other, _ in rest]).cpu(),
        cosine=torch.stack([_cosine(other, slopes) for _, other, _ in rest]).cpu(),
        explained=implied.explained.double().cpu(),
        square=float(answers.square().mean()),
        loss=None if target is None else torch.stack([(a - target).square() for a, _, _ in [*rest, found[0]]]).cpu(),
        level=level,
        resamples=resamples,
        seed=seed,
    )


def _cosine(a: Float[Tensor, "problem d"], b: Float[Tensor, "problem d"]) -> Float[Tensor, "problem"]:
    there = (a.norm(dim=-1) > 0) & (b.norm(dim=-1) > 0)
    return torch.cosine_similarity(a, b, dim=-1, eps=1e-30).where(there, torch.nan)


def _checked(x: Tensor, y: Tensor, query: Tensor, target: Tensor | None) -> tuple[int, int]:
    """How many problems there are, of how many dimensions."""
    shapes = {"x": tuple(x.shape), "y": tuple(y.shape), "query": tuple(query.shape)}
    sound = x.ndim == 3 and y.shape == x.shape[:2] and query.shape == (x.shape[0], x.shape[2]) and 0 not in x.shape
    if not sound or (target is not None and target.shape != query.shape[:1]):
        raise BadInput(
            "Problems are x (problem, n, d), y (problem, n), query (problem, d) and target (problem): these are"
            f" {shapes}{'' if target is None else f', target {tuple(target.shape)}'}."
        )
    return x.shape[0], x.shape[2]
