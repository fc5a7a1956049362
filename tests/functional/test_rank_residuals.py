"""Rank residual, mixed norm, ranks and cosines of states and Dobrushin's coefficient: closed forms and inequalities."""

import numpy as np
import pytest
import scipy.optimize
import torch

from workbench.errors import BadInput
from workbench.functional import (
    collapse_exponents,
    dobrushin,
    mean_cosine,
    mixed_norm,
    rank_residual,
    state_rank,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def normal(*shape, generator):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def stochastic(*shape, generator):
    return normal(*shape, generator=generator).softmax(-1)


@pytest.mark.parametrize("norm", ["fro", "1inf"])
@pytest.mark.parametrize("minimiser", ["mean", "median"])
def test_states_that_are_one_vector_have_none_and_one_more_vector_changes_nothing(generator, norm, minimiser):
    row = normal(5, generator=generator)
    same = rank_residual(row.expand(7, 5), norm, minimiser)
    assert same.absolute == 0 and same.relative == 0
    states = normal(3, 7, 5, generator=generator)
    found, moved = (rank_residual(x, norm, minimiser).absolute for x in (states, states + row))
    torch.testing.assert_close(moved, found, rtol=1e-12, atol=0)
    scaled = rank_residual(-2.5 * states, norm, minimiser)
    torch.testing.assert_close(scaled.absolute, 2.5 * found, rtol=1e-12, atol=0)
    torch.testing.assert_close(scaled.relative, rank_residual(states, norm, minimiser).relative, rtol=1e-12, atol=0)


@pytest.mark.parametrize("pos", [6, 7])
def test_against_numpy(generator, pos):
    states = normal(pos, 4, generator=generator)
    x = states.numpy()
    for minimiser, shared in (("mean", x.mean(0)), ("median", np.median(x, 0))):
        rest = x - shared
        fro, mixed = np.linalg.norm(rest), np.sqrt(np.linalg.norm(rest, 1) * np.linalg.norm(rest, np.inf))
        whole = np.sqrt(np.linalg.norm(x, 1) * np.linalg.norm(x, np.inf))
        assert rank_residual(states, "fro", minimiser).absolute.item() == pytest.approx(fro, rel=1e-12)
        found = rank_residual(states, "1inf", minimiser)
        assert found.absolute.item() == pytest.approx(mixed, rel=1e-12)
        assert found.relative.item() == pytest.approx(mixed / whole, rel=1e-12)
        assert mixed_norm(torch.tensor(rest)).item() == pytest.approx(mixed, rel=1e-12)


def test_the_mean_leaves_least_in_frobenius_and_the_median_the_least_largest_column(generator):
    states = normal(9, 4, generator=generator)
    least = rank_residual(states).absolute
    column = (states - states.median(0).values).abs().sum(0).amax()
    for _ in range(100):
        other = states.mean(0) + 0.3 * normal(4, generator=generator)
        assert torch.linalg.matrix_norm(states - other) > least
        assert (states - other).abs().sum(0).amax() >= column - 1e-12
    best = scipy.optimize.minimize(lambda x: np.linalg.norm(states.numpy() - x), np.zeros(4), tol=1e-10)
    assert least.item() == pytest.approx(best.fun, rel=1e-8)


def test_mixed_norm_of_a_product_is_at_most_the_product(generator):
    for _ in range(100):
        a, b = normal(4, 6, generator=generator), normal(6, 3, generator=generator)
        assert mixed_norm(a @ b) <= mixed_norm(a) * mixed_norm(b) * (1 + 1e-12)
    torch.testing.assert_close(mixed_norm(-3 * a), 3 * mixed_norm(a))
    given = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    assert mixed_norm(given).item() == pytest.approx((6 * 7) ** 0.5, rel=1e-6)


def test_attention_keeps_what_is_shared(generator):
    pattern, states = stochastic(6, 6, generator=generator), normal(6, 4, generator=generator)
    shared = states.mean(0).expand(6, 4)
    torch.testing.assert_close(pattern @ shared, shared, rtol=1e-12, atol=1e-14)
    whole, rest = (rank_residual(pattern @ x).absolute for x in (states, states - shared))
    torch.testing.assert_close(whole, rest, rtol=1e-12, atol=0)


def test_uniform_attention_collapses_at_once_and_identity_not_at_all(generator):
    states = normal(6, 4, generator=generator)
    even = torch.full((6, 6), 1 / 6, dtype=torch.float64)
    assert rank_residual(even @ states).relative < 1e-15
    torch.testing.assert_close(rank_residual(torch.eye(6).double() @ states).relative, rank_residual(states).relative)
    assert dobrushin(even) == 0 and dobrushin(torch.eye(6)) == 1


def test_dobrushin_bounds_what_attention_leaves_of_differences(generator):
    patterns = stochastic(2, 3, 5, 5, generator=generator)
    plain = [
        max(float((p[i] - p[j]).abs().sum()) / 2 for i in range(5) for j in range(5)) for p in patterns.flatten(0, 1)
    ]
    found = dobrushin(patterns)
    assert found.flatten().tolist() == pytest.approx(plain, rel=1e-12)
    for _ in range(50):
        v = normal(2, 3, 5, 1, generator=generator)
        mixed = patterns @ v

        def spread(x):
            return (x.amax(-2) - x.amin(-2)).squeeze(-1)

        assert bool((spread(mixed) <= found * spread(v) * (1 + 1e-12)).all())
    one = torch.tensor([[1.0, 0.0], [0.25, 0.75]])  # reached: 0.75 of the difference is left
    assert dobrushin(one).item() == pytest.approx(0.75)


def test_ranks_and_cosines_in_closed_form(generator):
    ring = torch.linalg.qr(normal(4, 4, generator=generator)).Q
    assert state_rank(ring).item() == pytest.approx(4, rel=1e-12) and mean_cosine(ring).abs() < 1e-12
    two = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    shares = np.array([0.9, 0.1]), np.array([0.75, 0.25])
    for power, share in ((2, shares[0]), (1, shares[1])):
        assert state_rank(two, power).item() == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-12)
    line = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)[:, None] * normal(1, 5, generator=generator)
    assert state_rank(line).item() == pytest.approx(1, abs=1e-9)
    assert mean_cosine(line).item() == pytest.approx(-1 / 3, rel=1e-12)  # of the pairs +-, ++, -+
    states = normal(2, 6, 3, generator=generator)
    for row, found in zip(states.numpy(), mean_cosine(states).tolist(), strict=True):
        units = row / np.linalg.norm(row, axis=1, keepdims=True)
        pairs = (units @ units.T)[~np.eye(6, dtype=bool)]
        assert found == pytest.approx(pairs.mean(), rel=1e-10)


def test_states_of_length_zero_have_no_direction():
    states = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    assert mean_cosine(states).item() == pytest.approx(0.5**0.5, rel=1e-6)
    assert mean_cosine(states[:2]).isnan() and mean_cosine(states[:1]).isnan()
    nothing = rank_residual(torch.zeros(3, 2))
    assert nothing.absolute == 0 and nothing.relative.isnan() and state_rank(torch.zeros(3, 2)).isnan()


def test_exponents_of_a_cubic_collapse_stop_at_the_floor():
    cubic = 0.9 ** (3.0 ** torch.arange(7).double())  # .9, .9^3, ... 5e-34
    found, count = collapse_exponents(cubic, floor=1e-15)
    assert found[:5].tolist() == pytest.approx([3] * 5, rel=1e-12) and count == 5
    assert found[5].isnan()
    found, count = collapse_exponents(torch.tensor([[1.0, 0.5, 0.5], [0.0, 0.5, 0.25]]))
    assert found[0, 1] == 1 and found[1, 1] == 2 and found[:, 0].isnan().all() and count.tolist() == [1, 1]


def test_half_precision_is_computed_in_single_and_double_stays(generator):
    states = normal(6, 4, generator=generator)
    for measure in (lambda x: rank_residual(x).relative, mean_cosine, state_rank, mixed_norm, dobrushin):
        assert measure(states).dtype == torch.float64 and measure(states.bfloat16()).dtype == torch.float32


def test_what_is_refused(as_installed):
    with pytest.raises(BadInput, match="'fro' or '1inf'"):
        rank_residual(torch.ones(2, 2), "two")  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match="median"):
        rank_residual(torch.ones(2, 2), "fro", "mode")  # pyright: ignore[reportArgumentType]
    for measure in (rank_residual, mean_cosine, state_rank, mixed_norm, dobrushin):
        with pytest.raises(BadInput, match="two axes"):
            measure(torch.ones(0, 3))
    with pytest.raises(BadInput, match="power"):
        state_rank(torch.ones(2, 2), 3)
