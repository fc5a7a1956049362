"""Random orders of values in the plane of one frequency: against numpy order by order, closed forms, and noise."""

import math

import numpy as np
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import detrended, frequency_plane, power_spectrum, shuffled_planes


@pytest.mark.parametrize(("n", "k", "detrend"), [(7, 1, False), (8, 4, False), (9, 2, True)])
def test_each_order_is_measured_as_a_table_of_its_own(n, k, detrend):
    table = torch.tensor(np.random.default_rng(n).normal(size=(n, 5)) + 3)
    found = shuffled_planes(table, k, 6, seed=4, detrend=detrend)
    orders = torch.rand(6, n, generator=torch.Generator().manual_seed(4)).argsort(-1)
    for at, order in enumerate(orders):
        mixed = detrended(table[order]) if detrend else table[order]
        values = mixed.numpy() - mixed.numpy().mean(0)
        angle = 2 * np.pi * k * np.arange(n) / n
        cos, sin = np.cos(angle), np.sin(angle)
        waves = [wave / np.linalg.norm(wave) @ values for wave in ([cos] if 2 * k == n else [cos, sin])]
        share = sum((wave**2).sum() for wave in waves) / (values**2).sum()
        assert found.share[at].item() == pytest.approx(share)
        lengths = np.linalg.svd(np.stack(waves), compute_uv=False)
        round_ = 0.0 if 2 * k == n else lengths[1] / lengths[0]
        assert found.roundness[at].item() == pytest.approx(round_, abs=1e-9)


def test_it_agrees_with_the_plane_of_the_same_table():
    table = torch.randn(10, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.rand(1, 10, generator=torch.Generator().manual_seed(7)).argsort(-1)[0]
    found = shuffled_planes(table, 3, 1, seed=7)
    power = power_spectrum(table[order], dim=0).sum(-1)
    assert found.share.item() == pytest.approx((power[3] / power.sum()).item())
    assert found.roundness.item() == pytest.approx(frequency_plane(table[order], 3).roundness)


def test_a_planted_circle_is_far_above_its_random_orders():
    turn = 2 * math.pi * 2 * torch.arange(12).double() / 12
    table = torch.stack([turn.cos(), turn.sin(), 0.1 * torch.arange(12) % 3], 1)
    found = shuffled_planes(table, 2, 200, seed=0)
    assert found.share.quantile(0.95) < 0.5 and frequency_plane(table, 2).held > 0.9


def test_of_values_that_are_alike_nothing_is_known():
    found = shuffled_planes(torch.ones(5, 3), 1, 4, seed=0)
    assert found.share.isnan().all() and found.roundness.isnan().all()


@pytest.mark.parametrize(("k", "draws"), [(0, 5), (4, 5), (1, 0)])
def test_what_there_is_not_is_refused(k, draws):
    with pytest.raises(BadInput):
        shuffled_planes(torch.randn(6, 2), k, draws, seed=0)
