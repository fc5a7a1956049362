"""What gradients say of tokens, and integrals of them along a path: loops, closed forms, and what must add up."""

import math

import pytest
import torch

import workbench
from workbench import functional


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_each_token_has_its_own_length_and_product():
    values, gradients = random(2, 3, 4), random(2, 3, 4, seed=1)
    found = {
        "l2": functional.saliency(gradients),
        "l1": functional.saliency(gradients, 1),
        "sum": functional.input_x_gradient(values, gradients),
        "norm": functional.input_x_gradient(values, gradients, norm=True),
    }
    for b in range(2):
        for t in range(3):
            v, g = values[b, t].tolist(), gradients[b, t].tolist()
            products = [x * y for x, y in zip(v, g, strict=True)]
            assert found["l2"][b, t].item() == pytest.approx(math.sqrt(sum(y * y for y in g)))
            assert found["l1"][b, t].item() == pytest.approx(sum(map(abs, g)))
            assert found["sum"][b, t].item() == pytest.approx(sum(products))
            assert found["norm"][b, t].item() == pytest.approx(math.sqrt(sum(p * p for p in products)))


def test_half_precision_is_summed_in_single():
    """4096 products of one hundredth: bfloat16 sums would stop growing."""
    values = torch.full((4096,), 0.1, dtype=torch.bfloat16)
    found = functional.input_x_gradient(values, values)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(4096 * values[0].item() ** 2, rel=1e-5)
    assert functional.saliency(values).dtype == torch.float32
    assert functional.saliency(values.double()).dtype == torch.float64


def test_noise_is_in_units_of_the_values_and_comes_from_the_seed():
    values = 5 + 3 * random(20, 50)
    drawn = functional.with_noise(values, 40, 0.2, seed=3)
    assert drawn.shape == (40, 20, 50)
    assert (drawn - values).std().item() == pytest.approx(0.2 * values.std().item(), rel=0.02)
    assert (drawn - values).mean().abs() < 0.02
    assert torch.equal(drawn, functional.with_noise(values, 40, 0.2, seed=3))
    assert not torch.equal(drawn, functional.with_noise(values, 40, 0.2, seed=4))
    assert torch.equal(functional.with_noise(values, 2, 0.0), values.expand(2, -1, -1))


@pytest.mark.parametrize(("rule", "degree"), [("gauss-legendre", 9), ("midpoint", 1)])
def test_a_rule_is_exact_up_to_its_degree(rule, degree):
    at, weights = functional.quadrature(5, rule, start=0.25, end=2.0)
    assert at.min() > 0.25 and at.max() < 2
    for power in range(degree + 2):
        exact = (2 ** (power + 1) - 0.25 ** (power + 1)) / (power + 1)
        missed = abs(float((weights * at**power).sum()) - exact)
        assert missed < 1e-10 if power <= degree else missed > 1e-8


def test_a_path_without_steps_is_a_sentence():
    with pytest.raises(workbench.BadInput, match="at least 1 step"):
        functional.quadrature(0)


def integrate(function, values, baseline, steps, rule="gauss-legendre"):
    at, weights = functional.quadrature(steps, rule)
    points = functional.path_points(values, baseline, at).requires_grad_()
    (gradients,) = torch.autograd.grad(function(points).sum(), points)
    return functional.integrated_gradients(values, baseline, gradients, weights)


def test_a_path_runs_straight_from_the_baseline_to_the_input():
    values, baseline = random(3, 4), random(3, 4, seed=1)
    points = functional.path_points(values, baseline, torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(points[0], baseline)
    torch.testing.assert_close(points[1], 0.75 * baseline + 0.25 * values)
    torch.testing.assert_close(points[2], values)


def test_of_a_linear_function_it_is_input_times_gradient():
    weight, values = random(3, 4), random(3, 4, seed=1)
    found = integrate(lambda x: (x * weight).sum((-1, -2)), values, torch.zeros(3, 4).double(), 1)
    torch.testing.assert_close(found, functional.input_x_gradient(values, weight))


@pytest.mark.parametrize(("rule", "exact"), [("gauss-legendre", 1e-12), ("midpoint", 1e-12)])
def test_of_squares_it_is_the_closed_form(rule, exact):
    """The sum of a x^2: the share of x is a (x^2 - b^2); gradients along the path are straight lines."""
    weight, values, baseline = random(3, 4), random(3, 4, seed=1), random(3, 4, seed=2)
    found = integrate(lambda x: (weight * x**2).sum((-1, -2)), values, baseline, 2, rule)
    torch.testing.assert_close(found, (weight * (values**2 - baseline**2)).sum(-1), rtol=0, atol=exact)


def test_shares_add_up_to_the_difference():
    first, second = random(12, 6), random(6, seed=3)

    def function(x):
        return torch.tanh(x.flatten(-2) @ first) @ second

    values, baseline = random(3, 4, seed=1), random(3, 4, seed=2)
    change = function(values) - function(baseline)
    missed = [abs(float(integrate(function, values, baseline, n).sum() - change)) for n in (2, 8, 32)]
    assert missed[0] > missed[1] > missed[2] and missed[2] < 1e-6
