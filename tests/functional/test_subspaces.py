"""Directions as knobs: what they set and leave alone, closed forms, a planted direction, scipy."""

import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import (
    coordinates,
    difference_of_means,
    interchange,
    learned_subspace,
    orthonormal,
    random_directions,
    separation,
    steer,
)

D = 12


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(params=[1, 3], ids=["direction", "rank 3"])
def basis(request):
    return orthonormal(noise(D, request.param, seed=9))


def test_steering_sets_the_value_and_nothing_else(basis):
    h, value = noise(2, 5, D), torch.linspace(-4, 7, basis.shape[1], dtype=torch.float64)
    steered = steer(h, basis, value)
    across = torch.eye(D, dtype=torch.float64) - basis @ basis.T
    torch.testing.assert_close(coordinates(steered, basis), value.expand(2, 5, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(steered @ across, h @ across, rtol=0, atol=1e-12)
    torch.testing.assert_close(steer(steered, basis, value), steered, rtol=0, atol=1e-12)
    assert torch.equal(steer(h, basis, coordinates(h, basis)), h)
    by_hand = h[1, 4].clone()
    for column, wanted in zip(basis.T, value, strict=True):
        by_hand += (wanted - sum(a * b for a, b in zip(column.tolist(), h[1, 4].tolist(), strict=True))) * column
    torch.testing.assert_close(steered[1, 4], by_hand, rtol=0, atol=1e-12)


def test_a_direction_may_come_as_a_vector_and_a_number_be_set_everywhere():
    u = random_directions(D, 1, seed=4)[0].double()
    u /= u.norm()
    h = noise(3, D)
    assert torch.equal(steer(h, u, 2.5), steer(h, u[:, None], torch.tensor([2.5], dtype=torch.float64)))
    assert (h @ u - 2.5).abs().min() > 0.1
    assert (steer(h, u, 2.5) @ u).tolist() == pytest.approx([2.5] * 3, abs=1e-12)
    assert coordinates(h, u).shape == (3, 1)


def test_scaling_states_scales_the_value(basis):
    h, value = noise(4, D), noise(basis.shape[1], seed=2)
    torch.testing.assert_close(steer(3 * h, basis, 3 * value), 3 * steer(h, basis, value), rtol=0, atol=1e-12)
    torch.testing.assert_close(coordinates(3 * h, basis), 3 * coordinates(h, basis), rtol=0, atol=1e-12)


def test_interchange_takes_the_subspace_and_leaves_the_rest(basis):
    target, source = noise(2, 5, D), noise(2, 5, D, seed=1)
    mixed = interchange(target, source, basis)
    across = torch.eye(D, dtype=torch.float64) - basis @ basis.T
    torch.testing.assert_close(mixed @ basis, source @ basis, rtol=0, atol=1e-12)
    torch.testing.assert_close(mixed @ across, target @ across, rtol=0, atol=1e-12)
    torch.testing.assert_close(mixed, steer(target, basis, coordinates(source, basis)), rtol=0, atol=1e-12)
    assert torch.equal(interchange(target, target, basis), target)


def test_interchange_of_everything_is_the_whole_vector():
    target, source = noise(5, D), noise(5, D, seed=1)
    torch.testing.assert_close(
        interchange(target, source, orthonormal(noise(D, D, seed=3))), source, rtol=0, atol=1e-12
    )


def test_half_precision_is_computed_in_single_precision():
    h, u = noise(4, D).half(), random_directions(D, 1, seed=0)[0]
    assert steer(h, u, 3.0).dtype == interchange(h, h, u.half()).dtype == torch.float32
    torch.testing.assert_close(coordinates(steer(h, u, 3.0), u), torch.full((4, 1), 3.0), rtol=0, atol=1e-5)
    assert difference_of_means(h, h + 1).dtype == torch.float32
    assert steer(noise(4, D), u, 3.0).dtype == torch.float64


def test_a_difference_of_means_is_from_the_second_group_to_the_first():
    positive, negative = noise(7, D) + 1, noise(4, D, seed=1)
    by_hand = [
        sum(row[i] for row in positive.tolist()) / 7 - sum(row[i] for row in negative.tolist()) / 4 for i in range(D)
    ]
    length = math.sqrt(sum(x * x for x in by_hand))
    found = difference_of_means(positive, negative)
    assert found.tolist() == pytest.approx([x / length for x in by_hand], abs=1e-12)
    assert (positive @ found).mean() > (negative @ found).mean()


def test_orthonormal_columns_span_the_same_space_from_the_first_vector_on():
    vectors = noise(D, 3)
    found = orthonormal(vectors)
    torch.testing.assert_close(found.T @ found, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found[:, 0], vectors[:, 0] / vectors[:, 0].norm(), rtol=0, atol=1e-12)
    torch.testing.assert_close(found @ (found.T @ vectors), vectors, rtol=0, atol=1e-12)
    assert ((found * vectors).sum(0) > 0).all()


def test_random_directions_are_even_and_of_length_one():
    drawn = random_directions(5, 4000, seed=1)
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(4000), rtol=0, atol=1e-6)
    torch.testing.assert_close(drawn.T @ drawn / 4000, torch.eye(5) / 5, rtol=0, atol=0.02)
    assert torch.equal(drawn, random_directions(5, 4000, seed=1))
    assert not torch.equal(drawn, random_directions(5, 4000, seed=2))


def test_separation_counts_pairs_and_is_scipys():
    from scipy.stats import mannwhitneyu

    positive, negative = (noise(2, n, seed=n).mul(2).round() for n in (9, 14))  # with ties
    for a, b, found in zip(positive.tolist(), negative.tolist(), separation(positive, negative), strict=True):
        pairs = [(x > y) + (x == y) / 2 for x in a for y in b]
        assert found.item() == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
        assert found.item() == pytest.approx(mannwhitneyu(a, b).statistic / len(pairs), abs=1e-12)
    assert separation(torch.tensor([3.0, 2.0]), torch.tensor([1.0])).item() == 1
    assert separation(torch.ones(3), torch.ones(2)).item() == 0.5


def planted(nuisance, seed=0, n=80):
    """States of two sides along w, beside a nuisance along another direction, and what reads w alone."""
    w, other = orthonormal(noise(D, 2, seed=5)).T
    side = torch.arange(n, dtype=torch.float64) % 2 * 2 - 1
    beside = torch.where(noise(n, seed=seed + 1) < 1.2, side, -side)  # goes with the side in nine of ten
    states = side[:, None] * w + nuisance * beside[:, None] * other + 0.3 * noise(n, D, seed=seed + 2)
    return w, states[side > 0], states[side < 0]


@pytest.mark.parametrize("nuisance", [0.0, 2.0])
def test_a_planted_direction_is_learned_whatever_goes_with_it(nuisance):
    w, up, down = planted(nuisance)
    lengths = []
    target, source = torch.cat([up, down]), torch.cat([down, up])

    def loss(basis):
        lengths.append(float(basis.detach().norm()))
        return ((interchange(target, source, basis) - source) @ w).square().mean()  # to be read as the source is

    found = learned_subspace(loss, D, steps=200, lr=0.1, seed=3, dtype=torch.float64)
    assert abs(float(found.basis[:, 0] @ w)) > 0.99
    assert lengths == pytest.approx([1] * 201, abs=1e-6)
    assert found.losses[-1] < 0.3 * found.losses[0]
    assert float(loss(found.basis)) == pytest.approx(float(found.losses.min()), abs=1e-12)
    random = [abs(float(u.double() @ w)) for u in random_directions(D, 20, seed=0)]
    assert sum(random) / 20 < 0.4


def test_a_difference_of_means_is_led_astray_by_what_goes_with_the_sides():
    w, up, down = planted(0.0)
    assert float(difference_of_means(up, down) @ w) > 0.99
    w, up, down = planted(2.0)
    assert float(difference_of_means(up, down) @ w) < 0.7
    assert separation(up @ w, down @ w) > 0.99


def test_learning_repeats_with_its_seed_and_begins_where_it_is_told():
    def loss(basis):
        return (basis[:, 0] - w).square().sum()

    w = random_directions(D, 1, seed=1)[0]
    one, again, other = (learned_subspace(loss, D, steps=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.basis, again.basis)
    assert not torch.equal(one.basis, other.basis)
    here = learned_subspace(loss, D, steps=0, start=w[:, None] * 5)
    torch.testing.assert_close(here.basis[:, 0], w)
    assert here.losses.tolist() == pytest.approx([0], abs=1e-12)
    three = learned_subspace(lambda basis: -(basis.T @ w).square().sum(), D, rank=3, steps=60)
    torch.testing.assert_close(three.basis.T @ three.basis, torch.eye(3), rtol=0, atol=1e-5)
    assert (three.basis.T @ w).norm() > 0.99


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: steer(noise(3, D), torch.ones(D), 1.0), "orthonormal"),
        (lambda: steer(noise(3, D), torch.full((D,), math.nan), 1.0), "orthonormal"),
        (lambda: interchange(noise(3, D), noise(3, D), torch.ones(D, 2)), "orthonormal"),
        (lambda: steer(noise(3, D), torch.eye(D)[:5, 0], 1.0), "5 dimensions"),
        (lambda: steer(noise(3, D), torch.eye(D)[:, 0], math.inf), "finite"),
        (lambda: steer(noise(3, D), torch.eye(D)[:, :2], noise(3)), "2 columns"),
        (lambda: difference_of_means(noise(3, D), noise(3, D)), "same mean"),
        (lambda: difference_of_means(noise(3, D), noise(0, D)), "both sides"),
        (lambda: difference_of_means(noise(3, D), noise(3, D) * math.nan), "NaN"),
        (lambda: orthonormal(torch.ones(D, 2)), "no space of 2"),
        (lambda: orthonormal(noise(2, 3)), "no space of 3"),
        (lambda: separation(noise(3), noise(0)), "3 and 0"),
        (lambda: separation(noise(3) / 0, noise(2)), "3 of the values"),
        (lambda: learned_subspace(lambda b: b.sum() * math.nan, D), "smaller lr"),
        (lambda: learned_subspace(lambda b: b.sum(), D, rank=13), "from 1 to 12"),
        (lambda: random_directions(D, 2.0, seed=0), "whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(call, says, as_installed):
    with pytest.raises(BadInput, match=says):
        call()
