"""Algorithms of linear regression against scikit-learn, numpy, plain loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.neighbors import KNeighborsRegressor

from workbench import functional
from workbench.errors import BadInput


def drawn(problems=5, n=8, d=4, noise=0.3, seed=0, **more):
    found = functional.regression_problems(problems, n, d, noise=noise, seed=seed, **more)
    return found.x.double(), found.y.double(), found.query.double()


def descended(x, y, step_size, steps):
    """One problem, in plain loops."""
    weights = np.zeros(x.shape[1])
    for _ in range(steps):
        gradient = np.zeros_like(weights)
        for row, label in zip(x, y, strict=True):
            gradient += (weights @ row - label) * row / len(x)
        weights = weights - step_size * gradient
    return weights


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_descent_is_that_of_a_plain_loop(steps):
    x, y, query = drawn()
    found = functional.gradient_descent_weights(x, y, step_size=0.4, steps=steps)
    said = functional.gradient_descent(x, y, query, step_size=0.4, steps=steps)
    for row in range(len(x)):
        expected = descended(x[row].numpy(), y[row].numpy(), 0.4, steps)
        np.testing.assert_allclose(found[row], expected, atol=1e-12)
        assert said[row].item() == pytest.approx(expected @ query[row].numpy())


def test_descent_is_that_of_autograd():
    x, y, _ = drawn(problems=1, n=6, d=3)
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        loss = 0.5 * (x[0] @ weights - y[0]).square().mean()
        (slope,) = torch.autograd.grad(loss, weights)
        weights = (weights - 0.7 * slope).detach().requires_grad_()
    torch.testing.assert_close(functional.gradient_descent_weights(x, y, step_size=0.7, steps=3)[0], weights.detach())


def test_preconditioned_descent_is_that_of_tokens_updated_in_turn():
    x, y, query = drawn(problems=3)
    step_size, shrink, n = 0.5, 0.2, x.shape[1]
    for row in range(3):
        inputs, labels = x[row].numpy().copy(), y[row].numpy().copy()
        asked, answer = query[row].numpy().copy(), 0.0
        for _ in range(3):
            step = step_size / n * labels @ inputs
            answer, labels = answer + step @ asked, labels - inputs @ step
            spread = np.eye(4) - shrink / n * inputs.T @ inputs
            inputs, asked = inputs @ spread, spread @ asked
        found = functional.preconditioned_descent(x, y, query, step_size=step_size, shrink=shrink, steps=3)
        assert found[row].item() == pytest.approx(answer)
    same = functional.preconditioned_descent_weights(x, y, step_size=0.5, shrink=0.0, steps=3)
    torch.testing.assert_close(same, functional.gradient_descent_weights(x, y, step_size=0.5, steps=3))


def test_preconditioning_gets_further_in_as_many_steps():
    found = functional.regression_problems(200, 20, 4, inputs="uniform")
    asked = found.x.double(), found.y.double(), found.query.double()

    def loss(shrink):
        sizes = (1.8, 2.4, 3.0, 4.5, 5.7)
        return min(
            float(
                (functional.preconditioned_descent(*asked, step_size=s, shrink=shrink, steps=3) - found.target)
                .square()
                .mean()
            )
            for s in sizes
        )

    assert loss(0.6) < 0.2 * loss(0.0)


@pytest.mark.parametrize(("n", "d"), [(8, 4), (3, 6)])
@pytest.mark.parametrize("penalty", [0.01, 0.25, 30.0])
def test_ridge_is_that_of_scikit_learn(n, d, penalty):
    x, y, query = drawn(n=n, d=d)
    found = functional.ridge_weights(x, y, penalty=penalty)
    said = functional.ridge(x, y, query, penalty=penalty)
    for row in range(len(x)):
        theirs = Ridge(alpha=penalty, fit_intercept=False).fit(x[row], y[row])
        np.testing.assert_allclose(found[row], theirs.coef_, atol=1e-10)
        assert said[row].item() == pytest.approx(theirs.predict(query[row][None])[0])


@pytest.mark.parametrize(("n", "d"), [(8, 4), (4, 4), (3, 6)])
def test_least_squares_is_that_of_numpy_the_shortest_where_several_fit(n, d):
    x, y, query = drawn(n=n, d=d)
    found = functional.least_squares_weights(x, y)
    for row in range(len(x)):
        expected = np.linalg.lstsq(x[row].numpy(), y[row].numpy(), rcond=None)[0]
        np.testing.assert_allclose(found[row], expected, atol=1e-9)
        assert functional.least_squares(x, y, query)[row].item() == pytest.approx(expected @ query[row].numpy())


def test_without_noise_and_with_enough_examples_least_squares_is_the_truth():
    found = functional.regression_problems(300, 8, 8)
    many = functional.regression_problems(300, 16, 8)
    assert (functional.least_squares(many.x, many.y, many.query) - many.target).square().mean() < 1e-9
    few = functional.regression_problems(300, 4, 8)
    assert (functional.least_squares(few.x, few.y, few.query) - few.target).square().mean() > 1
    assert len(found) == 300


def test_limits_of_ridge_and_of_many_steps():
    x, y, query = drawn(n=12)
    exact = functional.least_squares(x, y, query)
    torch.testing.assert_close(functional.ridge(x, y, query, penalty=1e-10), exact, atol=1e-7, rtol=0)
    assert functional.ridge(x, y, query, penalty=1e12).abs().max() < 1e-9
    torch.testing.assert_close(
        functional.gradient_descent(x, y, query, step_size=0.4, steps=1500), exact, atol=1e-5, rtol=0
    )
    assert (functional.gradient_descent(x, y, query, step_size=0.4, steps=3) - exact).abs().max() > 0.05


def test_the_posterior_is_that_of_scikit_learn():
    x, y, _ = drawn(problems=2, n=10, d=3)
    noise, prior = 0.4, 1.5
    found = functional.bayes_posterior(x, y, noise=noise, prior=prior)
    for row in range(2):
        # one update of hyperparameters that are held still by priors which are all but certain
        theirs = BayesianRidge(
            fit_intercept=False,
            alpha_1=1e12,
            alpha_2=1e12 * noise**2,
            lambda_1=1e12,
            lambda_2=1e12 * prior**2,
            tol=1e-12,
        ).fit(x[row], y[row])
        np.testing.assert_allclose(found.mean[row], theirs.coef_, rtol=1e-6)
        np.testing.assert_allclose(found.covariance[row], theirs.sigma_, rtol=1e-6)


def test_the_posterior_says_how_far_off_the_best_predictor_is():
    asked = functional.regression_problems(5000, 5, 4, noise=0.5)
    found = functional.bayes_posterior(asked.x, asked.y, noise=0.5)
    spread = torch.einsum("pd,pde,pe->p", asked.query, found.covariance, asked.query)
    errors = ((found.mean * asked.query).sum(-1) - asked.target).square()
    assert errors.mean().item() == pytest.approx(spread.mean().item(), rel=0.06)
    for penalty in (0.05, 0.8):
        other = (functional.ridge(asked.x, asked.y, asked.query, penalty=penalty) - asked.target).square()
        assert other.mean() > errors.mean()


def test_without_noise_what_no_example_shows_keeps_the_prior():
    x, y, _ = drawn(problems=2, n=2, d=5, noise=0.0)
    found = functional.bayes_posterior(x, y, noise=0.0, prior=2.0)
    assert found.covariance.diagonal(0, -2, -1).sum(-1).tolist() == pytest.approx([12.0, 12.0])  # 3 directions of 4
    assert (x @ found.covariance).abs().max() < 1e-12


@pytest.mark.parametrize("k", [1, 3, 8])
def test_nearest_labels_are_those_of_scikit_learn(k):
    x, y, query = drawn()
    found = functional.nearest_labels(x, y, query, k=k)
    for row in range(len(x)):
        theirs = KNeighborsRegressor(n_neighbors=k).fit(x[row], y[row]).predict(query[row][None])
        assert found[row].item() == pytest.approx(theirs[0])


def test_single_problems_batches_of_batches_and_half_precision():
    x, y, query = drawn(problems=6)
    together = functional.ridge(x, y, query, penalty=0.5)
    torch.testing.assert_close(functional.ridge(x[0], y[0], query[0], penalty=0.5), together[0])
    nested = functional.ridge(x.view(2, 3, 8, 4), y.view(2, 3, 8), query.view(2, 3, 4), penalty=0.5)
    torch.testing.assert_close(nested.flatten(), together)
    half = functional.ridge(x.half(), y.half(), query.half(), penalty=0.5)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), together, atol=0.02, rtol=0.02)


def test_bad_input_is_a_sentence():
    x, y, query = drawn()
    for wrong, match in [
        (lambda: functional.ridge(x[:, :0], y[:, :0], query, penalty=1.0), "one or more"),
        (lambda: functional.ridge(x, y, query, penalty=-1.0), "not negative"),
        (lambda: functional.gradient_descent(x, y, query, step_size=0.1, steps=-1), "0 steps or more"),
        (lambda: functional.gradient_descent(x, y, query, step_size=math.nan), "finite"),
        (lambda: functional.bayes_posterior(x, y, noise=-0.1), "noise"),
        (lambda: functional.nearest_labels(x, y, query, k=9), "number of examples"),
        (lambda: functional.regression_problems(0, 3, 2), "problems"),
        (lambda: functional.regression_problems(1, 3, 2, noise=-1.0), "noise"),
    ]:
        with pytest.raises(BadInput, match=match):
            wrong()


def test_problems_are_what_they_are_called():
    found = functional.regression_problems(4000, 5, 3, inputs="uniform", noise=0.5, query_scale=2.0, weight_scale=3.0)
    assert found.x.abs().max() <= 1 < found.query.abs().max() <= 2
    assert found.x.var().item() == pytest.approx(1 / 3, rel=0.03)
    assert found.weights.std().item() == pytest.approx(3, rel=0.03)
    left = found.y - torch.einsum("pnd,pd->pn", found.x, found.weights)
    assert left.std().item() == pytest.approx(0.5, rel=0.03)
    torch.testing.assert_close(found.target, (found.query * found.weights).sum(-1))
    plain = functional.regression_problems(4000, 5, 3)
    again = functional.regression_problems(4000, 5, 3)
    assert torch.equal(plain.x, again.x)
    shifted = functional.regression_problems(4000, 5, 3, covariate_shift=1.0)
    ratio = (shifted.x / plain.x).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3, atol=0)
    assert ratio[:, 0].log().std().item() == pytest.approx(1, rel=0.05)
    assert not torch.equal(functional.regression_problems(5, 5, 3, seed=1).x, plain.x[:5])
