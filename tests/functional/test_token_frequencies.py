"""Smooth and jumping states along tokens: closed forms, numpy, and what is undefined."""

import numpy as np
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import frequency_ratio, power_spectrum, relative_log_amplitude


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_amplitudes_are_numpys_beside_the_constant(n):
    states = noise(2, n, 4) + 1
    sizes = np.sqrt((np.abs(np.fft.rfft(states.numpy(), axis=1)) ** 2).sum(-1))
    assert np.allclose(relative_log_amplitude(states), np.log(sizes / sizes[:, :1]), atol=1e-12)


def test_a_spike_is_level_and_what_is_smooth_falls():
    spike = torch.zeros(9, 3)
    spike[4] = 1
    torch.testing.assert_close(relative_log_amplitude(spike), torch.zeros(5))
    walk = relative_log_amplitude(noise(400, 32, 8).cumsum(-2)).mean(0)
    assert walk[1] > walk[4] > walk[16]
    torch.testing.assert_close(relative_log_amplitude(1000 * spike), torch.zeros(5))


def test_where_there_is_nothing_it_is_undefined():
    assert relative_log_amplitude(torch.zeros(6, 2)).isnan().all()
    assert relative_log_amplitude(torch.ones(6, 2)).isnan().tolist() == [False, True, True, True]
    assert frequency_ratio(power_spectrum(torch.ones(6))).isnan()


def test_the_share_of_high_frequencies():
    power = torch.tensor([100.0, 4, 3, 2, 1])  # of eight or nine tokens
    assert frequency_ratio(power).item() == pytest.approx(0.3)
    assert frequency_ratio(power, 2).item() == pytest.approx(0.6)
    assert frequency_ratio(power, 1).item() == pytest.approx(1)
    assert frequency_ratio(power, 5).item() == 0
    odd = torch.tensor([0.0, 1, 2, 4, 8, 16])  # of ten or eleven tokens: 3, 4 and 5 are above 2.5
    assert frequency_ratio(odd).item() == pytest.approx(28 / 31)
    assert frequency_ratio(torch.tensor([0.0, 2])).item() == 1
    of_noise = frequency_ratio(power_spectrum(noise(500, 41)))
    assert of_noise.mean().item() == pytest.approx(0.5, abs=0.02)


def test_what_cannot_be_is_a_sentence(as_installed):
    for cut in (0, 4):
        with pytest.raises(BadInput, match="between 1 and the number of frequencies, 3"):
            frequency_ratio(torch.ones(3), cut)
    with pytest.raises(BadInput, match="cut"):
        frequency_ratio(torch.ones(1))
    with pytest.raises(BadInput, match="pos, d_model"):
        relative_log_amplitude(torch.ones(3))
