"""Spectra against numpy and scipy, what is planted found and nothing else, and shares of what is there."""

import itertools
import math

import numpy as np
import pytest
import scipy.signal
import torch

from workbench.errors import BadInput
from workbench.functional import (
    explained_by,
    fourier_basis,
    fourier_coefficients,
    fourier_coefficients_2d,
    gini,
    key_frequencies,
    power_2d,
    power_spectrum,
)

LENGTHS = (1, 2, 3, 4, 9, 10, 97, 520)


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("n", LENGTHS)
def test_power_is_numpys_of_both_halves_and_scipys(n):
    values = noise(n, 3) + 5
    found = power_spectrum(values, dim=0, centre=False)
    sizes = np.abs(np.fft.fft(values.numpy(), axis=0, norm="ortho")) ** 2
    for k in range(n // 2 + 1):
        both = sizes[k] if k in (0, n / 2) else sizes[k] + sizes[n - k]
        assert np.allclose(found[k], both, rtol=1e-10, atol=1e-12)
    centred = power_spectrum(values, dim=0)
    assert not centred[0].any()
    torch.testing.assert_close(centred[1:], found[1:], rtol=1e-9, atol=1e-11)
    if n > 1:
        _, scipys = scipy.signal.periodogram(values.numpy(), axis=0, detrend="constant", scaling="spectrum")
        assert np.allclose(centred * (1 / n), scipys, atol=1e-12)


@pytest.mark.parametrize("n", LENGTHS)
def test_parseval(n):
    values = noise(2, n, 3) + 1
    torch.testing.assert_close(power_spectrum(values, 1, centre=False).sum(1), values.square().sum(1))
    about_the_mean = (values - values.mean(1, keepdim=True)).square().sum(1)
    torch.testing.assert_close(power_spectrum(values, 1).sum(1), about_the_mean)
    torch.testing.assert_close(fourier_coefficients(values, 1).square().sum(1), values.square().sum(1))


@pytest.mark.parametrize("n", [7, 10, 113])
def test_a_planted_frequency_is_found_and_only_it(n):
    for k, phase in itertools.product(range(1, n // 2 + 1), (0.0, 1.1)):
        power = power_spectrum(torch.cos(2 * math.pi * k * torch.arange(n).double() / n + phase) + 3)
        assert power.argmax() == k
        assert power.sum() - power[k] < 1e-20
        assert key_frequencies(power) == (k,)


def test_of_520_numbers_the_period_of_ten_is_frequency_52():
    numbers = torch.arange(520).double()
    power = power_spectrum(torch.cos(2 * math.pi * numbers / 10))
    assert key_frequencies(power) == (52,)
    assert power[52].item() == pytest.approx(260)
    assert key_frequencies(power_spectrum(numbers % 2)) == (260,)


def test_a_large_mean_leaves_no_power_behind():
    values = (noise(2, 360) / 100 + 1e4).float()
    power = power_spectrum(values)
    assert power.dtype == torch.float32
    torch.testing.assert_close(power, power_spectrum(values.double()).float(), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_types(dtype):
    values = (8 * noise(2, 12)).to(dtype)
    wanted = torch.float32 if dtype in (torch.float16, torch.bfloat16, torch.float32) else torch.float64
    for found in (fourier_coefficients(values), power_spectrum(values), power_2d(values), gini(values.abs())):
        assert found.dtype == wanted
    torch.testing.assert_close(power_spectrum(values), power_spectrum(values.double()).to(wanted), rtol=1e-4, atol=1e-4)


def test_a_power_has_a_gradient():
    values = noise(3, 6).requires_grad_()
    assert torch.autograd.gradcheck(power_spectrum, (values,))
    assert torch.autograd.gradcheck(fourier_coefficients_2d, (values,))


@pytest.mark.parametrize("shape", [(5, 5), (6, 4), (7, 6, 3), (1, 2, 2), (8, 3, 2, 2)])
def test_two_dimensions_are_the_two_bases_and_numpys_fft2(shape):
    values = noise(*shape)
    a, b = (fourier_basis(n, torch.float64).matrix for n in shape[:2])
    dense = torch.einsum("ia,jb,ab...->ij...", a, b, values)
    torch.testing.assert_close(fourier_coefficients_2d(values), dense, rtol=0, atol=1e-12)
    sizes = np.abs(np.fft.fft2(values.numpy(), axes=(0, 1), norm="ortho")) ** 2
    power = power_2d(values, centre=False)
    assert power.shape == (shape[0] // 2 + 1, shape[1] // 2 + 1, *shape[2:])
    expected = np.zeros(power.shape)
    for k, l in np.ndindex(*shape[:2]):
        expected[min(k, shape[0] - k), min(l, shape[1] - l)] += sizes[k, l]
    assert np.allclose(power, expected, atol=1e-12)
    centred = power_2d(values + 7)
    assert not centred[0, 0].any()
    torch.testing.assert_close(centred.flatten(0, 1)[1:], power.flatten(0, 1)[1:], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(centred.sum((0, 1)), (values - values.mean((0, 1))).square().sum((0, 1)))


def test_a_planted_pair_of_frequencies_is_found_and_only_it():
    a, b = torch.arange(11)[:, None].double(), torch.arange(9).double()
    power = power_2d(torch.cos(2 * math.pi * 4 * a / 11 + 1) * torch.sin(2 * math.pi * 2 * b / 9 + 2))
    assert power[4, 2] / power.sum() > 1 - 1e-12
    of_a = power_2d(torch.cos(2 * math.pi * 4 * a / 11).expand(11, 9))
    assert of_a[4, 0] / of_a.sum() > 1 - 1e-12


def test_shares_and_key_frequencies():
    power = torch.tensor([[9.0, 1, 2, 1], [0, 0, 0, 0]])
    assert explained_by(power, (2, 2))[0] == 0.5
    assert explained_by(power, (1, 2, 3))[0] == 1
    assert explained_by(power, ())[0] == 0
    assert explained_by(power, (1,), total=20.0)[0].item() == pytest.approx(0.05)
    assert explained_by(power, (1,)).isnan().tolist() == [False, True]
    assert key_frequencies(power[0], 0.2) == (1, 2, 3)
    assert key_frequencies(power[0], 0.25) == (2,)  # more than, not as much as
    assert key_frequencies(power[0], 0.05, total=20.0) == (2,)
    assert key_frequencies(power[1]) == ()
    assert explained_by(1e-18 * power, (1,)).isnan().all()  # of norms below 1e-8
    assert key_frequencies(1e-18 * power[0]) == ()
    assert key_frequencies(torch.tensor([9.0])) == ()


def test_gini_is_the_mean_difference():
    amounts = noise(4, 7, seed=3).exp()
    for row, found in zip(amounts.tolist(), gini(amounts).tolist(), strict=True):
        plain = sum(abs(x - y) for x in row for y in row) / (2 * len(row) * sum(row))
        assert found == pytest.approx(plain, abs=1e-12)
    assert torch.equal(gini(amounts.T, dim=0), gini(amounts))
    torch.testing.assert_close(gini(1000 * amounts), gini(amounts))
    assert gini(torch.ones(5)).item() == pytest.approx(0, abs=1e-7)
    assert gini(torch.tensor([0.0, 0, 3, 0])).item() == pytest.approx(1 - 1 / 4)
    assert gini(torch.tensor([2.0])).item() == 0
    assert gini(torch.zeros(3)).isnan()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: power_spectrum(torch.ones(2, 0)), "no values along axis -1"),
        (lambda: fourier_coefficients_2d(torch.ones(3)), "two axes"),
        (lambda: power_2d(torch.ones(4)), "two axes"),
        (lambda: power_spectrum(torch.ones(4, dtype=torch.complex64)), "real numbers, not complex64"),
        (lambda: power_2d(torch.ones(4, 4, dtype=torch.complex128)), "real numbers, not complex128"),
        (lambda: explained_by(torch.ones(4), (1.5,)), "A frequency is a whole number, not 1.5"),
        (lambda: explained_by(torch.ones(4), torch.tensor([1, 2])), "a list of whole numbers.*of a tensor, .tolist"),
        (lambda: explained_by(torch.ones(4), 1), "a list of whole numbers"),
        (lambda: key_frequencies(torch.tensor([0, 1, torch.nan, torch.inf])), "2 of 4 powers are NaN or infinity"),
        (lambda: key_frequencies(torch.ones(4), total=math.nan), "A total of nan"),
        (lambda: explained_by(torch.ones(4), (0,)), "1 to 3"),
        (lambda: explained_by(torch.ones(4), (4,)), "1 to 3"),
        (lambda: key_frequencies(torch.ones(2, 4)), "one spectrum"),
        (lambda: key_frequencies(torch.ones(4), 1.0), "share is from 0"),
        (lambda: gini(torch.tensor([1.0, -1.0])), "not negative; 1 here"),
    ],
)
def test_what_cannot_be_is_a_sentence(call, says, as_installed):
    with pytest.raises(BadInput, match=says):
        call()
