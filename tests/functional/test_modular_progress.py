"""Measures of progress: dense directions, closed forms on ideal logits, and the whole from its parts."""

import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import (
    centred_power,
    difference_directions,
    excluded_loss,
    fourier_basis,
    keep_sums,
    key_frequencies,
    pair_loss,
    power_2d,
    remove_sums,
    restricted_loss,
    sum_directions,
    sum_power,
)

EXACT = {"rtol": 0, "atol": 1e-11}
each_n = pytest.mark.parametrize("n", [7, 8, 9, 23])
BOTH = [("add", sum_directions), ("subtract", difference_directions)]
both = pytest.mark.parametrize(("operation", "directions"), BOTH, ids=["add", "subtract"])


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ideal(n, frequencies, sign=1, sizes=None):
    """The sum over k of cos w_k (a + sign b - c)."""
    a, b, c = (torch.arange(n).double().view(shape) for shape in ((n, 1, 1), (1, n, 1), (1, 1, n)))
    sizes = sizes or [1.0] * len(frequencies)
    return sum(s * torch.cos(2 * math.pi * k * (a + sign * b - c) / n) for k, s in zip(frequencies, sizes, strict=True))


def plain_loss(logits, right, pairs):
    """Cross-entropy, a pair after the other."""
    total = 0.0
    for a, b in pairs:
        row = logits[a, b].tolist()
        total += math.log(sum(math.exp(x) for x in row)) - row[right(a, b)]
    return total / len(pairs)


@each_n
def test_directions_are_orthonormal_and_products_of_unit_waves(n):
    frequencies = range(1, (n + 1) // 2)
    sums, differences = (f(n, frequencies, torch.float64) for f in (sum_directions, difference_directions))
    basis = fourier_basis(n, torch.float64)
    for i, k in enumerate(frequencies):
        c, s = basis.rows((k,))
        torch.testing.assert_close(sums[2 * i], (c.outer(c) - s.outer(s)) / math.sqrt(2), **EXACT)
        torch.testing.assert_close(sums[2 * i + 1], (c.outer(s) + s.outer(c)) / math.sqrt(2), **EXACT)
        torch.testing.assert_close(differences[2 * i], (c.outer(c) + s.outer(s)) / math.sqrt(2), **EXACT)
        torch.testing.assert_close(differences[2 * i + 1], (s.outer(c) - c.outer(s)) / math.sqrt(2), **EXACT)
    rows = torch.cat([sums, differences]).flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), **EXACT)


def test_the_last_frequency_of_an_even_number_is_of_both():
    n = 8
    for directions in (sum_directions, difference_directions):
        (only,) = directions(n, (4,), torch.float64)
        assert only[1, 2].item() == pytest.approx(-1 / n) and only[3, 1].item() == pytest.approx(1 / n)
        assert only.norm().item() == pytest.approx(1)


@both
@each_n
def test_kept_is_the_dense_projection_and_with_removed_the_whole(n, operation, directions):
    logits, frequencies = noise(n, n, 5), (n // 2, 1)
    kept = keep_sums(logits, frequencies, operation)
    rows = directions(n, frequencies, torch.float64).flatten(1)
    torch.testing.assert_close(kept, (rows.T @ (rows @ logits.flatten(0, 1))).view_as(logits), **EXACT)
    torch.testing.assert_close(kept + remove_sums(logits, frequencies, operation), logits, **EXACT)
    torch.testing.assert_close(keep_sums(kept, frequencies, operation), kept, **EXACT)
    with_mean = keep_sums(logits, frequencies, operation, constant=True)
    torch.testing.assert_close(with_mean, kept + logits.mean((0, 1)), **EXACT)
    assert not keep_sums(logits, (), operation).any()


@both
@each_n
def test_power_is_that_of_dense_coefficients(n, operation, directions):
    logits = noise(n, n, 5) + 2
    found = sum_power(logits, operation)
    for k in range(1, n // 2 + 1):
        coefficients = torch.einsum("iab,abc->ic", directions(n, (k,), torch.float64), logits)
        assert found[k].item() == pytest.approx(coefficients.square().sum().item())
    assert found[0] == 0
    assert centred_power(logits).item() == pytest.approx(power_2d(logits).sum().item())
    assert found.sum() < centred_power(logits)


@both
def test_ideal_logits_are_all_in_the_directions_of_their_frequencies(operation, directions):
    n, frequencies = 23, (3, 5, 9)
    logits = 9 * ideal(n, frequencies, 1 if operation == "add" else -1)
    power = sum_power(logits, operation)
    assert power.sum().item() == pytest.approx(centred_power(logits).item())
    assert key_frequencies(power, total=float(centred_power(logits))) == frequencies
    full = pair_loss(logits, operation=operation)
    assert 0 < full.item() < 1e-3
    assert restricted_loss(logits, frequencies, operation=operation).item() == pytest.approx(full.item(), rel=1e-9)
    assert excluded_loss(logits, frequencies, operation=operation).item() == pytest.approx(math.log(n), abs=1e-12)
    assert restricted_loss(logits, frequencies[:1], operation=operation) > 3 * full
    other = "subtract" if operation == "add" else "add"
    assert sum_power(logits, other).sum() < 1e-18
    assert restricted_loss(logits, frequencies, operation=other).item() > math.log(n) - 1e-9


def test_losses_are_those_of_a_loop_over_pairs():
    n = 7
    logits = noise(n, n, n, seed=4)
    everywhere = [(a, b) for a in range(n) for b in range(n)]
    assert pair_loss(logits).item() == pytest.approx(plain_loss(logits, lambda a, b: (a + b) % n, everywhere))
    rows = sum_directions(n, (2,), torch.float64).flatten(1)
    kept = (rows.T @ (rows @ logits.flatten(0, 1))).view_as(logits)
    mask = noise(n, n, seed=5) > 0
    some = [(a, b) for a, b in everywhere if mask[a, b]]
    right = torch.randint(n, (n, n), generator=torch.Generator().manual_seed(1))
    restricted = restricted_loss(logits, (2,), right, mask)
    wanted = plain_loss(kept + logits.mean((0, 1)), lambda a, b: int(right[a, b]), some)
    assert restricted.item() == pytest.approx(wanted, abs=1e-12)
    excluded = excluded_loss(logits, (2,), mask=mask)
    assert excluded.item() == pytest.approx(plain_loss(logits - kept, lambda a, b: (a + b) % n, some), abs=1e-12)
    assert pair_loss(logits, operation="subtract").item() == pytest.approx(
        plain_loss(logits, lambda a, b: (a - b) % n, everywhere)
    )


def test_losses_of_single_precision_are_read_below_its_rounding():
    logits = (5 * ideal(11, (1, 2, 3, 4, 5))).float()
    assert pair_loss(logits).item() == pytest.approx(10 * math.exp(-5 * 5.5), rel=1e-3)
    assert pair_loss(logits).dtype == torch.float64
    assert keep_sums(logits.half(), (1,)).dtype == torch.float32


TABLE = torch.ones(3, 3, 3)


def test_targets_may_be_of_any_whole_type():
    right = torch.arange(9, dtype=torch.int32).view(3, 3) % 3
    assert pair_loss(noise(3, 3, 3), right) == pair_loss(noise(3, 3, 3), right.long())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sum_directions(7, (0,)), "1 to 3, not"),
        (lambda: sum_directions(7, (4,)), "1 to 3, not"),
        (lambda: keep_sums(torch.ones(7, 6, 7), (1,)), "as many b as a"),
        (lambda: keep_sums(torch.ones(1, 1, 1), ()), "two or more"),
        (lambda: sum_power(torch.ones(7, 7)), "axes"),
        (lambda: keep_sums(torch.ones(7, 7, 7), (1,), "times"), "'add' or 'subtract'"),
        (lambda: sum_power(torch.ones(7, 7, 7), "times"), "'add' or 'subtract'"),
        (lambda: pair_loss(torch.ones(7, 7, 5)), "there are 5 answers"),
        (lambda: restricted_loss(TABLE, [1.5]), "A frequency is a whole number, not 1.5"),
        (lambda: excluded_loss(TABLE, [1.0]), "A frequency is a whole number, not 1.0"),
        (lambda: sum_directions(7, [1.5]), "A frequency is a whole number, not 1.5"),
        (lambda: restricted_loss(TABLE, torch.tensor([1, 2])), "a list of whole numbers.*of a tensor, .tolist"),
        (lambda: pair_loss(TABLE, mask=torch.ones(3, 2, dtype=torch.bool)), r"A mask for 3 x 3 pairs.*not \(3, 2\)"),
        (lambda: restricted_loss(TABLE, [1], mask=torch.ones(3, dtype=torch.bool)), r"A mask for 3 x 3.*not \(3,\)"),
        (lambda: excluded_loss(TABLE, [1], mask=torch.ones(3, 3)), "true or false; this one is of type float32"),
        (lambda: pair_loss(TABLE, torch.zeros(3, dtype=torch.int64)), r"Targets for 3 x 3 pairs.*not \(3,\)"),
        (lambda: pair_loss(TABLE, torch.zeros(3, 3)), "whole numbers; these are of type float32"),
        (lambda: pair_loss(TABLE + 1j), "real numbers, not complex64"),
        (lambda: restricted_loss(TABLE + 1j, [1]), "real numbers, not complex64"),
        (lambda: pair_loss(torch.ones(3, 3, 3), mask=torch.zeros(3, 3, dtype=torch.bool)), "leaves none"),
    ],
)
def test_what_cannot_be_is_a_sentence(call, says, as_installed):
    with pytest.raises(BadInput, match=says):
        call()
