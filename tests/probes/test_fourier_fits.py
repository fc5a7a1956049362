"""Fits of circles and lines: scikit-learn on the same design matrix, plain loops, what is planted, and fair chances."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

import workbench
from probes.fourier_fits import are_level, checked_periods, held_out, p_values, waves

RANDOM = np.random.default_rng(0)
COS, SIN, VALUE = 1, 2, 0


def design(n, periods):
    at = np.arange(n, dtype=float)
    return np.concatenate([at[:, None], waves(at, periods).reshape(n, -1)], 1)


def fair(n, draws, random=RANDOM):
    return np.stack([np.arange(n), *(random.permutation(n) for _ in range(draws))])


def planted(n, period, width=8, noise=0.1, templates=1, seed=1):
    random = np.random.default_rng(seed)
    plane = random.normal(size=(2, width))
    return waves(np.arange(n), [period])[:, 0] @ plane + noise * random.normal(size=(templates, n, width))


def by_scikit_learn(states, columns, groups, parts, penalty):
    """R^2 of both directions with scikit-learn's regressions, a part after the other."""
    n_templates, n, _ = states.shape
    x, y = np.concatenate(states), np.tile((columns - columns.mean(0)) / columns.std(0), (n_templates, 1))
    folds = np.tile(parts, n_templates)
    found = []
    for group in groups:
        errors, totals = np.zeros(2), np.zeros(2)
        for part in np.unique(parts):
            train, test = folds != part, folds == part
            scaler = StandardScaler().fit(x[train])
            reader = Ridge(alpha=penalty).fit(scaler.transform(x[train]), y[train][:, group])
            errors[0] += (
                (reader.predict(scaler.transform(x[test])).reshape(test.sum(), -1) - y[test][:, group]) ** 2
            ).sum()
            totals[0] += ((y[test][:, group] - y[train][:, group].mean(0)) ** 2).sum()
            fit = LinearRegression().fit(y[train][:, group], x[train])
            errors[1] += ((fit.predict(y[test][:, group]) - x[test]) ** 2).sum()
            totals[1] += ((x[test] - x[train].mean(0)) ** 2).sum()
        found.append(1 - errors / totals)
    return np.array(found).T


@pytest.mark.parametrize(("n", "width", "templates"), [(24, 5, 1), (12, 40, 1), (14, 30, 3), (26, 6, 2)])
def test_both_directions_are_scikit_learns(n, width, templates):
    states = planted(n, 6, width, noise=1.0, templates=templates) + RANDOM.normal(size=width) * 3
    columns, groups = design(n, [6.0, 4.5]), [(COS, SIN), (3, 4), (VALUE,), range(5)]
    parts = RANDOM.permutation(np.arange(n) % 4)
    found = held_out(states, columns, groups, parts, fair(n, 3), 2.0)
    expected = by_scikit_learn(states, columns, [list(group) for group in groups], parts, 2.0)
    np.testing.assert_allclose(found.r2[:, :, 0], expected, rtol=1e-8, atol=1e-8)
    assert found.chosen.shape == (4, 0)


def test_a_random_order_is_the_same_question_about_columns_in_that_order():
    n = 15
    states, columns, groups = RANDOM.normal(size=(2, n, 9)), design(n, [5.0]), [(COS, SIN), (VALUE,)]
    parts, orders = np.arange(n) % 3, fair(n, 6)
    candidates = waves(np.arange(n), n / np.arange(1, n // 2 + 1))
    together = held_out(states, columns[:, :1], [(VALUE,), (1, 2)], parts, orders, 1.0, candidates)
    given = held_out(states, columns, groups, parts, orders, 1.0)
    for at, order in enumerate(orders):
        alone = held_out(states, columns[order], groups, parts, orders[:1], 1.0)
        np.testing.assert_allclose(given.r2[..., at], alone.r2[..., 0], atol=1e-9)
        searched = held_out(
            states, columns[order][:, :1], [(VALUE,), (1, 2)], parts, orders[:1], 1.0, candidates[order]
        )
        np.testing.assert_allclose(together.r2[..., at], searched.r2[..., 0], atol=1e-9)
        assert (together.chosen[:, at] == searched.chosen[:, 0]).all()


@pytest.mark.parametrize("seed", [1, 6])  # of noise in which the best fit is another
@pytest.mark.parametrize("templates", [1, 2])
def test_the_choice_is_that_of_leaving_out_one_training_value_at_a_time(templates, seed):
    n = 12
    states = np.random.default_rng(seed).normal(size=(templates, n, 20))
    candidates, parts = waves(np.arange(n), n / np.arange(1, n // 2 + 1)), np.arange(n) % 3
    found = held_out(states, design(n, []), [(1, 2)], parts, fair(n, 0), 3.0, candidates)
    value_of = np.tile(np.arange(n), templates)
    x = np.concatenate(states)
    for part in range(3):
        train = parts[value_of] != part
        z, of = StandardScaler().fit_transform(x[train]), value_of[train]
        shares = []
        for k in range(candidates.shape[1]):
            y, error = candidates[of, k], 0.0
            for left in np.unique(of):
                fit = Ridge(alpha=3.0).fit(z[of != left], y[of != left])
                error += ((fit.predict(z[of == left]) - y[of == left]) ** 2).sum()
            shares.append(error / ((y - y.mean(0)) ** 2).sum())
        assert found.chosen[part, 0] == np.argmin(shares)


def test_a_planted_circle_is_found_and_only_it():
    n, periods = 40, [10.0, 8.0, 5.0, 20.0]
    states, parts, orders = planted(n, 10), RANDOM.permutation(np.arange(n) % 5), fair(n, 99)
    groups = [(1, 2), (3, 4), (5, 6), (7, 8), (VALUE,)]
    found = held_out(states, design(n, periods), groups, parts, orders, 1.0)
    for way in range(2):
        assert found.r2[way, 0, 0] > 0.95
        assert p_values(found.r2)[way, 0] == 0.01
        assert (found.r2[way, 1:, 0] < 0.1).all()
    candidates = waves(np.arange(n), n / np.arange(1, n // 2 + 1))
    searched = held_out(states, design(n, []), [(1, 2)], parts, orders, 1.0, candidates)
    assert (searched.chosen[:, 0] == 3).all()  # four cycles
    np.testing.assert_allclose(searched.r2[:, 0, 0], found.r2[:, 0, 0], atol=1e-9)


def test_a_helix_is_its_line_and_its_circle():
    n = 30
    line = np.arange(n)[:, None] / 5 * RANDOM.normal(size=8)
    states = planted(n, 10, noise=0.05) + line
    found = held_out(states, design(n, [10.0]), [(1, 2), (VALUE,), (0, 1, 2)], np.arange(n) % 5, fair(n, 19), 0.1)
    assert found.r2[0, :, 0].min() > 0.98
    assert found.r2[1, 2, 0] > 0.98
    assert found.r2[1, :2, 0].max() < 0.9


def test_in_noise_one_in_twenty_is_called_found():
    """Chances of 1/20 over 300 noises: a standard error of 1.3 %."""
    random = np.random.default_rng(7)
    n, width, draws = 10, 14, 19
    candidates, groups = waves(np.arange(n), n / np.arange(1, n // 2 + 1)), [(VALUE,), (1, 2), (3, 4)]
    counts = np.zeros((2, len(groups)))
    for _ in range(300):
        states = random.normal(size=(1, n, width)) * np.exp(random.normal(size=width))
        parts = random.permutation(np.arange(n) % 3)
        found = held_out(states, design(n, [5.0]), groups, parts, fair(n, draws, random), 1.0, candidates)
        counts += p_values(found.r2) <= 0.05
    shares = counts / 300
    assert (shares > 0.012).all() and (shares < 0.09).all(), shares


def test_p_values_count_the_own_order_and_ties():
    r2 = np.array([[0.5, 0.5, 0.6, 0.1], [0.9, 0.1, 0.2, 0.3], [-1.0, 0.0, 0.0, 0.0]])
    assert p_values(r2).tolist() == [3 / 4, 1 / 4, 1]
    assert p_values(r2, np.full((3, 3), 0.9)).tolist() == [1, 1, 1]


def test_waves_turn_once_a_period():
    columns = waves(np.array([0.0, 2.5, 5, 10, 12.5]), [10.0, 5.0])
    np.testing.assert_allclose(columns[:, 0], [[1, 0], [0, 1], [-1, 0], [1, 0], [0, 1]], atol=1e-12)
    np.testing.assert_allclose(columns[:, 1], [[1, 0], [-1, 0], [1, 0], [1, 0], [-1, 0]], atol=1e-12)
    fastest = waves(np.arange(6), [2.0])[:, 0]
    assert (fastest[:, 1] == 0).all() and fastest[:, 0].tolist() == [1, -1, 1, -1, 1, -1]
    found = held_out(RANDOM.normal(size=(1, 6, 3)), design(6, [2.0]), [(1, 2)], np.arange(6) % 3, fair(6, 5), 1.0)
    assert np.isfinite(found.r2).all()


def test_periods_that_the_values_cannot_show_are_refused():
    assert checked_periods([10, 10.0, 2.5], 10, 1.0, "digits") == (10.0, 2.5)
    assert checked_periods([20], 10, 10.0, "numbers") == (20.0,)
    for period, says in (
        (10.5, "above the range of 10 digits"),
        (1.9, "below two steps of 1"),
        (-3, "below two steps"),
    ):
        with pytest.raises(workbench.BadInput, match=says):
            checked_periods([period], 10, 1.0, "digits")
    with pytest.raises(workbench.BadInput, match="above the range"):
        checked_periods([float("nan")], 10, 1.0, "digits")
    with pytest.raises(workbench.BadInput, match="below two steps of 10"):
        checked_periods([19], 10, 10.0, "numbers")


def test_states_that_are_the_same_but_for_rounding_are_level():
    row = RANDOM.normal(size=(2, 1, 50))
    assert are_level(np.repeat(row, 7, 1) * (1 + 1e-7 * RANDOM.normal(size=(2, 7, 50))))
    assert not are_level(np.repeat(row, 7, 1) + 1e-3 * RANDOM.normal(size=(2, 7, 50)))
    assert are_level(np.zeros((1, 7, 3)))
