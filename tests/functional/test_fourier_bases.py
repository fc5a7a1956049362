"""Bases of waves: orthonormal at any length, waves by hand, and the printed basis with what is wrong with it."""

import math

import numpy as np
import pytest
import scipy.fft
import torch

from workbench.errors import BadInput
from workbench.functional import (
    addition_paper_basis,
    component_frequencies,
    component_names,
    fourier_basis,
    fourier_coefficients,
)

LENGTHS = (1, 2, 3, 4, 7, 10, 12, 97, 113, 520)
each_length = pytest.mark.parametrize("n", LENGTHS)


def by_hand(n):
    """Rows as the formula has them, one number after the other."""
    rows = [[1 / math.sqrt(n)] * n]
    for k in range(1, n // 2 + 1):
        unit = math.sqrt(1 / n) if 2 * k == n else math.sqrt(2 / n)
        rows.append([unit * math.cos(2 * math.pi * k * x / n) for x in range(n)])
        if 2 * k != n:
            rows.append([unit * math.sin(2 * math.pi * k * x / n) for x in range(n)])
    return torch.tensor(rows, dtype=torch.float64)


@each_length
def test_rows_are_the_waves_of_the_formula_and_orthonormal(n):
    basis = fourier_basis(n, torch.float64)
    torch.testing.assert_close(basis.matrix, by_hand(n), rtol=0, atol=1e-10)
    torch.testing.assert_close(basis.matrix @ basis.matrix.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-12)
    assert len(basis.names) == len(basis.frequencies) == basis.rank == n
    assert fourier_basis(n).matrix.dtype == torch.float32
    torch.testing.assert_close(basis.lengths, torch.ones(n, dtype=torch.float64))


@each_length
def test_coefficients_are_those_of_the_basis_and_of_scipy(n):
    values = torch.randn(3, n, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    found = fourier_coefficients(values, dim=1)
    dense = torch.einsum("cn,bnd->bcd", by_hand(n), values)
    torch.testing.assert_close(found, dense, rtol=0, atol=1e-10)
    waves = scipy.fft.rfft(values.numpy(), axis=1, norm="ortho")
    names = component_names(n)
    for k in range(n // 2 + 1):
        scale = 1 if k in (0, n / 2) else math.sqrt(2)
        cos = names.index(f"cos {k}" if k else "constant")
        assert np.allclose(found[:, cos], scale * waves[:, k].real, atol=1e-12)
        if f"sin {k}" in names:
            assert np.allclose(found[:, names.index(f"sin {k}")], -scale * waves[:, k].imag, atol=1e-12)
    assert sum(name.startswith("sin") for name in names) == (n - 1) // 2


def test_names_and_frequencies():
    assert component_names(5) == ("constant", "cos 1", "sin 1", "cos 2", "sin 2")
    assert component_names(4) == ("constant", "cos 1", "sin 1", "cos 2")
    assert component_frequencies(6) == (0, 1, 1, 2, 2, 3)
    assert component_names(1) == ("constant",)
    basis = fourier_basis(7)
    assert torch.equal(basis.rows((3, 1)), basis.matrix[[1, 2, 5, 6]])
    with pytest.raises(BadInput, match="no frequency 4 in this basis: it has 0 to 3"):
        basis.rows((1, 4))


def test_the_printed_basis_of_the_paper_is_no_basis():
    printed = addition_paper_basis(dtype=torch.float64)
    squared = printed.lengths.square()
    assert printed.matrix.shape == (521, 521)
    assert printed.rank == 520 == np.linalg.matrix_rank(printed.matrix.numpy())
    assert torch.equal(printed.matrix[:, 0].round(decimals=12), printed.matrix[:, 520].round(decimals=12))
    sin, cos = printed.names.index("sin 260"), printed.names.index("cos 260")
    assert squared[sin] < 1e-20
    assert squared[cos].item() == pytest.approx(2 * 521 / 520)
    assert squared[0].item() == pytest.approx(521 / 520)
    assert printed.matrix[printed.names.index("cos 52"), 10].item() == pytest.approx(math.sqrt(2 / 520))  # period 10
    others = [i for i in range(1, 521) if i not in (sin, cos)]
    gram = printed.matrix[others] @ printed.matrix[others].T
    assert (gram - gram.diag().diag()).abs().max().item() == pytest.approx(2 / 520)
    assert fourier_basis(520).rank == 520


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fourier_basis(0), "one value or more, not 0"),
        (lambda: fourier_basis(3.0), "whole number, not 3.0"),
        (lambda: addition_paper_basis(520), "odd number of numbers"),
        (lambda: addition_paper_basis(1), "three or more"),
        (lambda: fourier_coefficients(torch.ones(3, 0), 1), "no values along axis 1"),
        (lambda: fourier_coefficients(torch.ones(3), 1), "no axis 1"),
    ],
)
def test_what_cannot_be_is_a_sentence(call, says, as_installed):
    with pytest.raises(BadInput, match=says):
        call()
