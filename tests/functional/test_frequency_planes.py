"""Planes of one frequency, straight lines taken off, and what random orders show: against numpy and closed forms."""

import math

import numpy as np
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import detrended, frequency_plane, power_spectrum, shuffled_shares


def circle(n: int, k: int, d: int = 6, axes: tuple[float, float] = (2.0, 2.0), seed: int = 0) -> torch.Tensor:
    """An ellipse of n values at frequency k, in a random plane of d dimensions, far from the origin."""
    plane, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, 2)))
    turn = 2 * np.pi * k * np.arange(n) / n
    return torch.tensor(np.stack([axes[0] * np.cos(turn), axes[1] * np.sin(turn)], 1) @ plane.T + 3.0)


@pytest.mark.parametrize(("n", "k"), [(7, 1), (12, 3), (26, 11), (13, 6)])
def test_a_circle_is_round_and_holds_all(n, k):
    found = frequency_plane(circle(n, k), k)
    assert found.held == pytest.approx(1) and found.roundness == pytest.approx(1)
    turn = 2 * math.pi * k * torch.arange(n).double() / n
    torch.testing.assert_close(found.coordinates, 2 * torch.stack([turn.cos(), turn.sin()], 1))


def test_an_ellipse_is_as_round_as_its_axes():
    found = frequency_plane(circle(10, 2, axes=(4.0, 1.0)), 2)
    assert found.roundness == pytest.approx(0.25) and found.held == pytest.approx(1)


def test_the_last_frequency_of_an_even_n_is_a_line():
    table = torch.tensor([[1.0, 2.0], [-1.0, 0.0]]).repeat(3, 1).double()
    found = frequency_plane(table, 3)
    assert found.roundness == 0 and found.held == pytest.approx(1)
    assert found.coordinates[:, 1].abs().max() == 0


def test_held_is_the_projection_of_plain_linear_algebra():
    table = np.random.default_rng(1).normal(size=(9, 5)) + 4
    angle = 2 * np.pi * 2 * np.arange(9) / 9
    centred = table - table.mean(0)
    plane, _ = np.linalg.qr(np.stack([np.cos(angle) @ centred, np.sin(angle) @ centred], 1))
    found = frequency_plane(torch.tensor(table), 2)
    assert found.held == pytest.approx(((centred @ plane) ** 2).sum() / (centred**2).sum())
    np.testing.assert_allclose((found.coordinates**2).sum(), ((centred @ plane) ** 2).sum())
    lengths = np.linalg.svd(np.stack([np.cos(angle) @ centred, np.sin(angle) @ centred]), compute_uv=False)
    assert found.roundness == pytest.approx(lengths[1] / lengths[0])


def test_what_has_no_power_is_nan_and_one_column_is_a_line():
    assert math.isnan(frequency_plane(torch.ones(5, 3), 1).held)
    assert math.isnan(frequency_plane(torch.ones(5, 3), 1).roundness)
    assert frequency_plane(torch.arange(5.0)[:, None], 1).roundness == pytest.approx(0, abs=1e-6)
    assert frequency_plane(torch.arange(5.0)[:, None], 1).held == pytest.approx(1)


def test_a_straight_line_is_taken_off_and_nothing_else():
    rows = np.random.default_rng(2).normal(size=(11, 3))
    steps = np.stack([np.ones(11), np.arange(11)], 1)
    expected = rows - steps @ np.linalg.lstsq(steps, rows, rcond=None)[0]
    np.testing.assert_allclose(detrended(torch.tensor(rows)), expected, atol=1e-12)
    np.testing.assert_allclose(detrended(torch.tensor(rows)[None].repeat(2, 1, 1))[1], expected, atol=1e-12)
    assert detrended(torch.arange(5.0)[:, None] * 3 + 7).abs().max() < 1e-5


@pytest.mark.parametrize("detrend", [False, True])
def test_random_orders_are_those_of_numpy(detrend):
    table = np.random.default_rng(3).normal(size=(8, 20))
    found = shuffled_shares(torch.tensor(table), 40, seed=5, detrend=detrend)
    orders = torch.rand(40, 8, generator=torch.Generator().manual_seed(5)).argsort(-1).numpy()
    steps = np.stack([np.ones(8), np.arange(8)], 1)
    for share, order in zip(found.tolist(), orders, strict=True):
        rows = table[order] - table.mean(0)
        if detrend:
            rows = rows - steps @ np.linalg.lstsq(steps, rows, rcond=None)[0]
        power = (np.abs(np.fft.fft(rows, axis=0)) ** 2).sum(1)
        folded = [power[k] + (power[8 - k] if k != 4 else 0) for k in range(1, 5)]
        assert share == pytest.approx(max(folded) / sum(folded))


def test_noise_is_above_its_own_null_one_time_in_twenty():
    generator = torch.Generator().manual_seed(0)
    above = 0
    for seed in range(400):
        table = torch.randn(9, 4, generator=generator, dtype=torch.float64)
        power = power_spectrum(table, dim=0).sum(-1)
        above += float(power.max() / power.sum()) > shuffled_shares(table, 99, seed=seed).quantile(0.95)
    assert 0.025 <= above / 400 <= 0.08  # 5 %, two and a half standard errors either way


def test_all_alike_has_no_shares_and_bad_tables_are_refused():
    assert shuffled_shares(torch.ones(5, 2), 3, seed=0).isnan().all()
    for bad in (torch.zeros(2, 3), torch.zeros(5, 0), torch.full((5, 2), torch.nan)):
        with pytest.raises(BadInput):
            frequency_plane(bad, 1)
        with pytest.raises(BadInput):
            shuffled_shares(bad, 3, seed=0)
    with pytest.raises(BadInput, match="are 1 to 2, not 3"):
        frequency_plane(torch.eye(5), 3)
    with pytest.raises(BadInput, match="at least 1"):
        shuffled_shares(torch.eye(5), 0, seed=0)
    with pytest.raises(BadInput, match="two values or more"):
        detrended(torch.zeros(1, 3))
