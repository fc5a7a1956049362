"""Straight-line and weighted correlations against scipy, repeated entries, and where they are undefined."""

import math

import pytest
import scipy.stats
import torch

from workbench.errors import BadInput
from workbench.functional import average_ranks, pearson, spearman, weighted_pearson, weighted_spearman
from workbench.functional.correlation import ranked

DOUBLE = torch.float64


def drawn(*shape, levels=None, seed=0):
    """Normal numbers, or whole ones below `levels`, of which many are equal."""
    random = torch.Generator().manual_seed(seed)
    if levels:
        return torch.randint(levels, shape, generator=random).double()
    return torch.randn(shape, generator=random, dtype=DOUBLE)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("n", [2, 7, 40])
def test_pearson_agrees_with_scipy(levels, n):
    a, b = drawn(20, n, levels=levels), drawn(20, n, levels=levels, seed=1)
    b[::2] += a[::2]
    for x, y, value in zip(a, b, pearson(a, b), strict=True):
        if len(set(x.tolist())) == 1 or len(set(y.tolist())) == 1:
            assert math.isnan(value)
        else:
            assert value.item() == pytest.approx(scipy.stats.pearsonr(x.numpy(), y.numpy())[0], abs=1e-13)


@pytest.mark.parametrize("levels", [None, 4])
def test_a_weight_of_two_is_an_entry_twice(levels):
    a, b, times = drawn(12, levels=levels), drawn(12, levels=levels, seed=1), drawn(12, levels=4, seed=2)
    repeated = [one.repeat_interleave(times.long()) for one in (a, b, average_ranks(a), average_ranks(b))]
    assert 0 in times and len(repeated[0]) > 12
    expected = scipy.stats.pearsonr(*(one.numpy() for one in repeated[:2]))[0]
    assert weighted_pearson(a, b, times).item() == pytest.approx(expected, abs=1e-13)
    assert weighted_pearson(a, b, times / 7).item() == pytest.approx(expected, abs=1e-13)
    # Spearman's: ranks of the entries as they are, then the same
    expected = scipy.stats.pearsonr(*(one.numpy() for one in repeated[2:]))[0]
    assert weighted_spearman(a, b, times).item() == pytest.approx(expected, abs=1e-13)


def test_even_weights_are_none():
    a, b = drawn(5, 30, levels=6), drawn(5, 30, levels=6, seed=1)
    even = torch.full((5, 30), 0.3)
    torch.testing.assert_close(weighted_spearman(a, b, even), spearman(a, b), rtol=0, atol=1e-13)
    torch.testing.assert_close(weighted_pearson(a, b, even), pearson(a, b), rtol=0, atol=1e-13)


@pytest.mark.parametrize("of", [pearson, weighted_pearson, weighted_spearman])
def test_what_is_left_out_does_not_matter(of):
    a, b, weights = drawn(15), drawn(15, seed=1), drawn(15, seed=2).exp()
    mask = torch.arange(15) != 3
    rest = [one[[i for i in range(15) if i not in (3, 6, 8)]] for one in (a, b, weights)]
    a[3], a[6], b[8] = 1e9, torch.nan, torch.nan
    of_all = of(a, b, mask) if of is pearson else of(a, b, weights, mask)
    of_rest = of(*rest[:2]) if of is pearson else of(*rest)
    torch.testing.assert_close(of_all, of_rest, rtol=0, atol=1e-13)
    if of is not pearson:
        weights[10] = torch.nan
        some = torch.tensor([i for i in range(15) if i not in (3, 6, 8, 10)])
        without = of(a[some], b[some], weights[some])
        torch.testing.assert_close(of(a, b, weights, mask), without, rtol=0, atol=1e-13)


def test_undefined_is_nan_and_never_zero():
    up, ones = torch.arange(5.0), torch.ones(5)
    assert pearson(torch.full((5,), 0.1), up).isnan()  # a constant whose mean rounds
    assert pearson(up, torch.full((5,), 0.1)).isnan()
    assert pearson(up[:1], up[:1]).isnan()
    assert pearson(up, up, torch.zeros(5, dtype=torch.bool)).isnan()
    assert weighted_pearson(up, up, 0 * ones).isnan()
    for of in (weighted_pearson, weighted_spearman):
        assert of(up, up, ones * (up == 2)).isnan()  # one entry has all the weight
        assert of(up, -up, ones).item() == pytest.approx(-1)


def test_weights_that_are_none_are_refused():
    up = torch.arange(3.0)
    for weights in (torch.tensor([1.0, -1, 1]), torch.tensor([1.0, math.inf, 1])):
        with pytest.raises(BadInput, match="not negative"):
            weighted_pearson(up, up, weights)


def test_ranks_by_one_sort_are_the_average_ranks():
    values = torch.stack([drawn(50), drawn(50, levels=5), torch.zeros(50, dtype=DOUBLE), drawn(50, levels=3)])
    values[3, ::7] = torch.inf  # not what is left out
    for valid in (torch.ones(4, 50, dtype=torch.bool), drawn(4, 50, seed=2) > -1):
        assert torch.equal(ranked(values, valid), average_ranks(values, valid).nan_to_num(0.0))


def test_half_precision_is_computed_in_double():
    a, b = drawn(40).half(), drawn(40, seed=1).half()
    assert pearson(a, b).item() == pytest.approx(scipy.stats.pearsonr(a.double().numpy(), b.double().numpy())[0])


@pytest.mark.parametrize("of", [pearson, weighted_pearson, weighted_spearman])
def test_what_is_not_of_the_same_entries_is_a_sentence(of, as_installed):
    def refused(a, b, weights, says, mask=None):
        with pytest.raises(BadInput, match=says):
            of(*((a, b) if of is pearson else (a, b, weights)), mask=mask)

    a = drawn(3, 5)
    refused(a, drawn(3, 4), a.exp(), r"second score \(3, 4\)")
    refused(a, drawn(5), a.exp(), r"second score \(5,\)")
    refused(a[0, 0], a[0, 0], a[0, 0].exp(), r"axes \(\*, entry\)")
    refused(a, a, a.exp(), r"mask \(4,\)", mask=torch.ones(4).bool())
    refused(a, a, a.exp(), "true or false", mask=torch.ones(3, 5))
    if of is not pearson:
        refused(a, a, drawn(5).exp(), r"weights \(5,\)")
