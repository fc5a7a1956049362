"""Bootstrap intervals against scipy's, at the edges, and their coverage."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from workbench.errors import BadInput
from workbench.functional import bootstrap_difference, bootstrap_interval

NAN = math.nan


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scipys(samples, statistic, **options):
    options = {
        "n_resamples": 20000,
        "method": "percentile",
        "rng": np.random.default_rng(0),
        "vectorized": True,
    } | options
    interval = scipy.stats.bootstrap(samples, statistic, **options).confidence_interval
    return interval.low, interval.high


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(torch.mean, np.mean), (torch.std, lambda x, axis: np.std(x, axis, ddof=1))]
)
def test_agrees_with_scipy(level, ours, theirs):
    values = normal(30).exp()  # skewed, so that the ends differ
    found = bootstrap_interval(values, statistic=ours, level=level, resamples=20000)
    low, high = scipys((values.numpy(),), theirs, confidence_level=level)
    error = 0.04 * (high - low)  # of a quantile of 20 000 resamples, several times its standard deviation
    assert found.value.item() == pytest.approx(theirs(values.numpy(), axis=-1))
    assert found.low.item() == pytest.approx(low, abs=error)
    assert found.high.item() == pytest.approx(high, abs=error)


def test_paired_difference_agrees_with_scipys_and_is_narrower_than_without_pairs():
    common, own = normal(25), 0.1 * normal(2, 25, seed=1)
    a, b = common + own[0] + 0.05, common + own[1]
    found = bootstrap_difference(a, b, resamples=20000)
    low, high = scipys((a.numpy(), b.numpy()), lambda x, y, axis: np.mean(x, axis) - np.mean(y, axis), paired=True)
    assert found.value.item() == pytest.approx((a.mean() - b.mean()).item())
    assert found.low.item() == pytest.approx(low, abs=0.04 * (high - low))
    assert found.high.item() == pytest.approx(high, abs=0.04 * (high - low))
    alone = bootstrap_interval(a, resamples=20000)
    assert high - low < 0.5 * (alone.high - alone.low).item()


def test_the_median_of_pairs_is_not_the_median_of_differences():
    a, b = torch.tensor([0.0, 1.0, 5.0]), torch.tensor([4.0, 0.0, 1.0])

    def median(x, dim):
        return x.median(dim).values

    assert bootstrap_difference(a, b, statistic=median).value.item() == 0  # 1 - 1; of the differences it is 1


def test_values_that_are_all_alike_have_an_interval_of_no_width():
    found = bootstrap_interval(torch.full((2, 8), 0.25))
    assert found.low.tolist() == found.high.tolist() == found.value.tolist() == [0.25, 0.25]
    nothing = bootstrap_difference(normal(9), normal(9))
    assert nothing.low.item() == nothing.high.item() == 0


def test_two_values_by_hand():
    """A resample of (0, 1) is (0, 0), (0, 1) twice, or (1, 1): at level 0.4 the ends are the middle, 0.5."""
    found = bootstrap_interval(torch.tensor([0.0, 1.0]), level=0.4)
    assert (found.low.item(), found.high.item()) == (0.5, 0.5)
    wide = bootstrap_interval(torch.tensor([0.0, 1.0]), level=0.9)
    assert (wide.low.item(), wide.high.item()) == (0, 1)


def test_undefined_values_are_left_out_and_counted():
    values = torch.tensor([[1.0, NAN, 3.0, 2.0], [NAN, NAN, NAN, 5.0], [NAN, NAN, NAN, NAN], [1.0, 2.0, 3.0, 4.0]])
    found = bootstrap_interval(values)
    assert found.count.tolist() == [3, 1, 0, 4]
    assert found.undefined.tolist() == [1, 3, 4, 0]
    torch.testing.assert_close(found.value, torch.tensor([2.0, 5.0, NAN, 2.5]), equal_nan=True)
    assert found.low.isnan().tolist() == found.high.isnan().tolist() == [False, True, True, False]
    torch.testing.assert_close(found.low[0], bootstrap_interval(torch.tensor([1.0, 3.0, 2.0])).low)
    pairs = bootstrap_difference(torch.tensor([1.0, NAN, 3.0, 4.0]), torch.tensor([0.0, 1.0, NAN, 2.0]))
    assert (pairs.count.item(), pairs.undefined.item(), pairs.value.item()) == (2, 2, 1.5)


def test_the_seed_alone_decides_and_rows_do_not_disturb_each_other():
    values = normal(3, 4, 11)
    found = bootstrap_interval(values, seed=5)
    assert found.low.shape == (3, 4)
    torch.testing.assert_close(found.low, bootstrap_interval(values, seed=5).low, rtol=0, atol=0)
    assert not torch.equal(found.low, bootstrap_interval(values, seed=6).low)
    assert found.high[2, 1] == bootstrap_interval(values[2, 1], seed=5).high
    assert bootstrap_interval(torch.empty(0, 3)).low.shape == (0,)


def test_covers_the_truth_about_as_often_as_it_says():
    samples = normal(400, 40)
    found = bootstrap_interval(samples, level=0.9, resamples=500)
    covered = ((found.low < 0) & (found.high > 0)).double().mean().item()
    assert covered == pytest.approx(0.9, abs=0.05)  # three standard errors of 400 samples


def test_the_median_as_torch_gives_it_with_its_place():
    values, others = normal(2, 15), normal(2, 15, seed=1)

    def median(x, dim):
        return x.median(dim).values

    for found, expected in (
        (bootstrap_interval(values, statistic=torch.median), bootstrap_interval(values, statistic=median)),
        (
            bootstrap_difference(values, others, statistic=torch.median),
            bootstrap_difference(values, others, statistic=median),
        ),
    ):
        assert torch.equal(found.value, expected.value) and torch.equal(found.low, expected.low)
        assert torch.equal(found.high, expected.high) and (found.low < found.high).all()


def test_whole_numbers_are_values():
    counts, others = torch.tensor([3, 1, 4, 1, 5]), torch.tensor([2, 7, 1, 8, 2])
    assert bootstrap_interval(counts).value.item() == pytest.approx(2.8)
    assert bootstrap_interval(counts).high == bootstrap_interval(counts.double()).high
    assert bootstrap_difference(counts, others).low == bootstrap_difference(counts.double(), others.double()).low


def test_infinities_have_no_interval():
    for infinite in (math.inf, -math.inf):
        values = torch.tensor([1.0, 2.0, infinite, NAN])
        with pytest.raises(BadInput, match="1 of these are infinite.*NaN"):
            bootstrap_interval(values)
        with pytest.raises(BadInput, match="infinite"):
            bootstrap_difference(torch.zeros(4), values)


def test_pairs_of_different_lengths_are_a_sentence(as_installed):
    with pytest.raises(BadInput, match=r"shapes \(5,\) and \(4,\).*same prompts"):
        bootstrap_difference(normal(5), normal(4))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_levels_are_shares(level):
    with pytest.raises(BadInput, match="between 0 and 1"):
        bootstrap_interval(normal(5), level=level)
    with pytest.raises(BadInput, match="at least one resample"):
        bootstrap_interval(normal(5), resamples=0)
