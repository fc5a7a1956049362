"""Participation ratios in closed form in both conventions, what changes nothing, and what is dead."""

import math

import numpy as np
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import inverse_participation_ratio, is_dead

P = 97
AT = torch.arange(P).double()


def wave(k, phase=0.0, n=P):
    return torch.cos(2 * math.pi * k * torch.arange(n).double() / n + phase)


def plain(values, transform):
    sizes = np.abs(transform(np.asarray(values, dtype=float)))
    return (np.linalg.norm(sizes, 4) / np.linalg.norm(sizes, 2)) ** 4


@pytest.mark.parametrize(("spectrum", "of_a_wave", "of_a_spike"), [("rfft", 1, 1 / 49), ("fft", 0.5, 1 / 97)])
def test_closed_values(spectrum, of_a_wave, of_a_spike):
    def ratio(values):
        return inverse_participation_ratio(values, spectrum=spectrum).item()

    spike = torch.zeros(P, dtype=torch.float64)
    spike[13] = 2.5
    for k in (1, 20, 48):
        assert ratio(wave(k, phase=0.7)) == pytest.approx(of_a_wave, abs=1e-12)
    assert ratio(spike) == pytest.approx(of_a_spike, abs=1e-12)
    assert ratio(torch.full((P,), -3.0)) == pytest.approx(1, abs=1e-6)
    assert ratio(wave(1) + wave(2)) == pytest.approx(of_a_wave / 2, abs=1e-12)


@pytest.mark.parametrize(("spectrum", "transform"), [("rfft", np.fft.rfft), ("fft", np.fft.fft)])
@pytest.mark.parametrize("n", [2, 3, 8, 97])
def test_is_the_formula_on_numpys_transform(spectrum, transform, n):
    values = torch.randn(3, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    expected = [plain(row, transform) for row in values]
    assert inverse_participation_ratio(values, spectrum=spectrum).tolist() == pytest.approx(expected, abs=1e-12)
    assert inverse_participation_ratio(values.T, dim=0, spectrum=spectrum).tolist() == pytest.approx(expected)


def test_noise_has_about_two_over_p():
    noise = torch.randn(20000, P, generator=torch.Generator().manual_seed(0))
    assert inverse_participation_ratio(noise, spectrum="fft").mean().item() == pytest.approx(0.0203, abs=0.0005)
    assert inverse_participation_ratio(noise).mean().item() == pytest.approx(0.040, abs=0.001)


def test_shifts_and_scales_change_nothing():
    values = torch.randn(5, P, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ratio = inverse_participation_ratio(values)
    torch.testing.assert_close(inverse_participation_ratio(values.roll(31, -1)), ratio, rtol=0, atol=1e-12)
    torch.testing.assert_close(inverse_participation_ratio(-1e6 * values), ratio, rtol=0, atol=1e-12)
    for scale in (1e-8, 1e15, 1e30, 5e37):  # their fourth powers, squares and sums are not in float32
        torch.testing.assert_close(inverse_participation_ratio(scale * values.float()), ratio.float())
    without = inverse_participation_ratio(values, constant=False).float()
    torch.testing.assert_close(inverse_participation_ratio(5e37 * values.float(), constant=False), without)
    assert not is_dead(5e37 * values.float()).any()
    steps = (4 * values).round() / 4
    on_top = torch.cat([steps, -steps], -1) + 2**14  # it and its mean are exact in float32
    wanted = inverse_participation_ratio(on_top, constant=False).float()
    torch.testing.assert_close(inverse_participation_ratio(on_top.float(), constant=False), wanted, rtol=1e-5, atol=0)


def test_the_constant_counts_unless_told():
    values = wave(5) + 1
    assert inverse_participation_ratio(values).item() < 0.99
    assert inverse_participation_ratio(values, constant=False).item() == pytest.approx(1, abs=1e-12)
    assert inverse_participation_ratio(torch.ones(P), constant=False).isnan()
    torch.testing.assert_close(
        inverse_participation_ratio(values, constant=False), inverse_participation_ratio(values - values.mean())
    )


def test_the_dead_are_undefined_and_said_to_be():
    values = torch.stack([wave(3), torch.zeros(P), 1e-12 * wave(3), 1e-8 * wave(3)])
    assert (
        is_dead(values).tolist() == inverse_participation_ratio(values).isnan().tolist() == [False, True, True, False]
    )
    assert is_dead(values.T, dim=0).tolist() == is_dead(values).tolist()
    assert is_dead(torch.ones(2, P)).tolist() == [False, False]
    assert is_dead(torch.ones(2, P), constant=False).tolist() == [True, True]
    assert inverse_participation_ratio(values.half()).dtype == torch.float32


def test_what_cannot_be_is_a_sentence(as_installed):
    with pytest.raises(BadInput, match="'rfft'"):
        inverse_participation_ratio(AT, spectrum="dct")  # pyright: ignore[reportArgumentType]
    for call in (inverse_participation_ratio, is_dead):
        with pytest.raises(BadInput, match="no values along axis 1"):
            call(AT, dim=1)
        with pytest.raises(BadInput, match="no values along axis -1"):
            call(torch.ones(2, 0))
        with pytest.raises(BadInput, match="real numbers, not complex64"):
            call(torch.ones(4, dtype=torch.complex64))
