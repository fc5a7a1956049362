"""Sensitivities, implied weights and step sizes of predictors whose answers are known."""

from functools import partial

import pytest
import torch
from scipy.optimize import minimize_scalar

from workbench import functional
from workbench.errors import BadInput

DRAWN = functional.regression_problems(60, 8, 4, noise=0.3)
X, Y, QUERY = DRAWN.x.double(), DRAWN.y.double(), DRAWN.query.double()
FRESH = torch.randn(60, 9, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LINEAR = {
    "one step": (
        partial(functional.gradient_descent, step_size=0.6),
        partial(functional.gradient_descent_weights, step_size=0.6),
    ),
    "three steps": (
        partial(functional.gradient_descent, step_size=0.6, steps=3),
        partial(functional.gradient_descent_weights, step_size=0.6, steps=3),
    ),
    "GD++": (
        partial(functional.preconditioned_descent, step_size=0.6, shrink=0.1, steps=2),
        partial(functional.preconditioned_descent_weights, step_size=0.6, shrink=0.1, steps=2),
    ),
    "ridge": (partial(functional.ridge, penalty=0.5), partial(functional.ridge_weights, penalty=0.5)),
    "least squares": (functional.least_squares, functional.least_squares_weights),
}


@pytest.mark.parametrize("name", LINEAR)
def test_weights_are_sensitivities_and_are_found_from_answers_alone(name):
    predict, weigh = LINEAR[name]
    expected = weigh(X, Y)
    torch.testing.assert_close(functional.query_sensitivity(predict, X, Y, QUERY), expected)
    with torch.no_grad():
        torch.testing.assert_close(functional.query_sensitivity(predict, X, Y, QUERY, difference=0.1), expected)
    found = functional.implied_weights(predict, X, Y, FRESH)
    torch.testing.assert_close(found.weights, expected)
    assert found.explained.min() > 1 - 1e-12


def test_the_sensitivity_of_one_step_is_the_sum_of_labels_times_inputs():
    found = functional.query_sensitivity(LINEAR["one step"][0], X, Y, QUERY)
    for row in range(5):
        by_hand = sum(0.6 / 8 * Y[row, i] * X[row, i] for i in range(8))
        torch.testing.assert_close(found[row], by_hand)


def test_what_is_not_linear_in_the_query_is_explained_less():
    found = functional.implied_weights(lambda x, y, query: (query**2).sum(-1), X, Y, FRESH)
    assert found.explained.mean() < 0.9
    assert (functional.implied_weights(lambda x, y, query: 0 * query[:, 0], X, Y, FRESH).weights == 0).all()


def test_nearest_neighbours_have_no_slope():
    assert (functional.query_sensitivity(functional.nearest_labels, X, Y, QUERY) == 0).all()


def test_many_queries_are_asked_in_parts_and_each_belongs_to_its_problem(monkeypatch):
    whole = functional.implied_weights(LINEAR["ridge"][0], X, Y, FRESH).weights
    monkeypatch.setattr("workbench.functional.predictors.PASSES", 20)
    torch.testing.assert_close(functional.implied_weights(LINEAR["ridge"][0], X, Y, FRESH).weights, whole)


def test_the_best_single_step_is_that_of_the_population():
    # uniform from -1 to 1, weights N(0, 1): variance 1/3, fourth moment 1/5; minimise E tr (step S - 1)^2, S = X'X / n
    n = d = 10
    fourth = d / 5 + d * (d - 1) / 9
    squared = fourth / n + (n - 1) / n * d / 9
    best = (d / 3) / squared
    asked = functional.regression_problems(40000, n, d, inputs="uniform")
    found = functional.best_step_size(asked.x, asked.y, asked.query, asked.target)
    assert found == pytest.approx(best, rel=0.02)
    said = functional.gradient_descent(asked.x, asked.y, asked.query, step_size=found)
    expected = (d - (d / 3) ** 2 / squared) / 3
    assert (said - asked.target).square().mean().item() == pytest.approx(expected, rel=0.03)
    nothing = functional.gradient_descent(asked.x, asked.y, asked.query, step_size=0.0)
    assert (nothing - asked.target).square().mean().item() / 2 == pytest.approx(d / 6, rel=0.03)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_best_step_size_is_that_of_scipy(steps):
    target = DRAWN.target.double()

    def loss(size):
        said = functional.gradient_descent(X, Y, QUERY, step_size=size, steps=steps)
        return float((said - target).square().mean())

    theirs = minimize_scalar(loss, bounds=(0, 1.2), method="bounded", options={"xatol": 1e-7})
    found = functional.best_step_size(X, Y, QUERY, target, steps=steps)
    assert loss(found) == pytest.approx(theirs.fun, rel=1e-6)
    assert found == pytest.approx(theirs.x, abs=1e-4)


def test_bad_predictors_are_told_what_they_should_give():
    def shaped(x, y, query):
        return query

    def blind(x, y, query):
        with torch.no_grad():
            return functional.ridge(x, y, query, penalty=0.5)

    with pytest.raises(BadInput, match="one answer for each query"):
        functional.query_sensitivity(shaped, X, Y, QUERY)
    with pytest.raises(BadInput, match="NaN or infinite"):
        functional.implied_weights(lambda x, y, query: query[:, 0] / 0, X, Y, FRESH)
    with pytest.raises(BadInput, match="difference"):
        functional.query_sensitivity(blind, X, Y, QUERY)
    with pytest.raises(BadInput, match="do not tell"):
        functional.implied_weights(blind, X, Y, FRESH[:, :3])
    with pytest.raises(BadInput, match="first steps are zero"):
        functional.best_step_size(X, 0 * Y, QUERY, QUERY[:, 0])
    expected = LINEAR["ridge"][1](X, Y)
    torch.testing.assert_close(functional.query_sensitivity(blind, X, Y, QUERY, difference=0.01), expected)
