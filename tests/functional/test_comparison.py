"""Rank correlations against scipy, by hand, and where they are undefined."""

import itertools
import math

import pytest
import scipy.stats
import torch

from workbench.functional import average_ranks, counted_mean, kendall, spearman

PAIRS = [(spearman, scipy.stats.spearmanr), (kendall, scipy.stats.kendalltau)]
both = pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["spearman", "kendall"])


def drawn(*shape, levels=None, seed=0):
    """Normal numbers, or whole ones below `levels`, of which many are equal."""
    random = torch.Generator().manual_seed(seed)
    if levels:
        return torch.randint(levels, shape, generator=random).double()
    return torch.randn(shape, generator=random, dtype=torch.float64)


@both
@pytest.mark.parametrize("levels", [None, 2, 3, 6], ids=["no ties", "2 levels", "3 levels", "6 levels"])
@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_agree_with_scipy(ours, theirs, levels, n):
    a, b = drawn(20, n, levels=levels), drawn(20, n, levels=levels, seed=1)
    b[::2] += a[::2]  # half of them go together
    found = ours(a, b)
    for x, y, value in zip(a, b, found, strict=True):
        if len(set(x.tolist())) == 1 or len(set(y.tolist())) == 1:
            assert math.isnan(value)
        else:
            assert value.item() == pytest.approx(theirs(x.numpy(), y.numpy()).statistic, abs=1e-14)


def dense_rank_formula(a, b):
    """1 - 6 sum(d^2) / (n (n^2 - 1)) over dense ranks, as some code in the wild has it."""
    x, y = (torch.unique(one, return_inverse=True)[1].double() for one in (a, b))
    n = len(a)
    return (1 - 6 * (x - y).square().sum() / (n * (n**2 - 1))).item()


def test_the_short_formula_is_wrong_with_ties_and_ours_is_not():
    a = torch.tensor([1.0, 1, 1, 1, 2, 3], dtype=torch.float64)
    b = torch.tensor([4.0, 3, 2, 1, 1, 1], dtype=torch.float64)
    true = scipy.stats.spearmanr(a.numpy(), b.numpy()).statistic
    assert true == pytest.approx(-0.6465790872963896)  # centred ranks by hand: -9 over sqrt(12.5 * 15.5)
    assert dense_rank_formula(a, b) > 0.3  # even the sign is wrong
    assert spearman(a, b).item() == pytest.approx(true, abs=1e-14)
    untied = drawn(9), drawn(9, seed=1)
    assert dense_rank_formula(*untied) == pytest.approx(spearman(*untied).item())  # and right without them


@both
def test_undefined_is_nan_and_never_zero(ours, theirs):
    assert math.isnan(ours(torch.full((5,), 0.1), torch.arange(5.0)))  # a constant whose mean rounds
    assert math.isnan(ours(torch.arange(5.0), torch.full((5,), 0.1)))
    assert math.isnan(ours(torch.tensor([1.0]), torch.tensor([2.0])))
    assert math.isnan(ours(torch.tensor([]), torch.tensor([])))
    nan = math.nan
    assert math.isnan(ours(torch.tensor([1.0, nan, 3.0]), torch.tensor([nan, 2.0, 3.0])))  # one entry is left
    assert math.isnan(ours(torch.tensor([1.0, 1.0, nan]), torch.tensor([1.0, 2.0, 3.0])))  # what is left is constant


@both
def test_entries_that_are_nan_or_masked_are_left_out_of_both(ours, theirs):
    a, b = drawn(6, 30, levels=8), drawn(6, 30, levels=8, seed=1)
    mask = drawn(6, 30, seed=2) > -1
    a[drawn(6, 30, seed=3) > 1], b[drawn(6, 30, seed=4) > 1] = math.nan, math.nan
    found = ours(a, b, mask)
    for x, y, keep, value in zip(a, b, mask, found, strict=True):
        keep = keep & ~x.isnan() & ~y.isnan()
        assert 10 < keep.sum() < 30
        assert value.item() == pytest.approx(theirs(x[keep].numpy(), y[keep].numpy()).statistic, abs=1e-14)


@both
def test_agreement_is_exactly_one_and_opposition_minus_one(ours, theirs):
    a = torch.tensor([0.1, 0.7, 0.3, 5.0, -2.0, 0.7])
    assert ours(a, a.exp()).item() == 1
    assert ours(a, -a).item() == -1
    for n in range(2, 60):
        for one in (drawn(n, seed=n), drawn(n, seed=n).float(), torch.cat([torch.arange(2.0), drawn(n, levels=4)])):
            assert ours(one, one).item() == ours(one, one.double().exp()).item() == 1
            assert ours(one, -one).item() == -1


@both
def test_whole_numbers_are_scores(ours, theirs):
    a, b = drawn(9, levels=6).long(), drawn(9, levels=6, seed=1).long()
    assert ours(a, b) == ours(a.double(), b.double())
    assert ours(a, b.float()).item() == pytest.approx(theirs(a.numpy(), b.numpy()).statistic, abs=1e-14)
    large = torch.tensor([2**24, 2**24 + 1, 2**24 + 2])  # the first two are one number in single precision
    assert ours(large, torch.arange(3)) == 1
    assert ours(a, a.flip(0)).isfinite() and counted_mean(a).mean == a.double().mean()


@both
def test_only_the_order_counts_infinities_included(ours, theirs):
    a = torch.tensor([-math.inf, 0.0, 1.0, math.inf, math.inf], dtype=torch.float64)
    b = drawn(5)
    torch.testing.assert_close(ours(a, b), ours(torch.tensor([0.0, 1, 2, 3, 3], dtype=torch.float64), b))
    nan = torch.tensor([math.nan])
    torch.testing.assert_close(ours(torch.cat([a, nan]), torch.cat([b, nan])), ours(a, b))


@both
def test_batches_and_half_precision(ours, theirs):
    a, b = drawn(2, 3, 12, levels=9), drawn(2, 3, 12, levels=9, seed=1)
    found = ours(a, b)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float64
    for i, j in itertools.product(range(2), range(3)):
        assert found[i, j] == ours(a[i, j], b[i, j])
    half = ours(a.bfloat16(), b.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), found, atol=1e-6, rtol=0)


def test_ranks_of_ties_are_shared():
    nan = math.nan
    ranks = average_ranks(torch.tensor([[3.0, 1.0, 3.0, nan, 2.0], [5.0, 5.0, 5.0, 5.0, 5.0]]))
    torch.testing.assert_close(ranks, torch.tensor([[3.5, 1, 3.5, nan, 2], [3.0, 3, 3, 3, 3]]), equal_nan=True)
    infinite = average_ranks(torch.tensor([math.inf, nan, 0.0, math.inf]))
    torch.testing.assert_close(infinite, torch.tensor([2.5, nan, 1, 2.5]), equal_nan=True)


def test_a_mean_counts_what_is_undefined():
    nan = math.nan
    found = counted_mean(torch.tensor([[1.0, nan, 3.0], [nan, nan, nan], [0.0, 0.0, 3.0]]))
    torch.testing.assert_close(found.mean, torch.tensor([2.0, nan, 1.0]), equal_nan=True)
    assert found.count.tolist() == [2, 0, 3]
    assert found.undefined.tolist() == [1, 3, 0]
    along = counted_mean(torch.tensor([[1.0, nan], [3.0, 4.0]]), dim=0)
    assert along.mean.tolist() == [2, 4]
    assert along.undefined.tolist() == [0, 1]
