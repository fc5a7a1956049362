"""Scores of circuits against closed forms, scikit-learn and scipy, plain loops, and what is undefined."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch

from workbench import BadInput
from workbench.functional import (
    SHARES,
    chance_jaccard,
    circuit_sizes,
    edge_auroc,
    faithfulness_areas,
    first_appearance,
    jaccard,
    least_areas,
    normalised_faithfulness,
    score_agreement,
    smallest_size,
    smoothed,
    weighted_edges,
)

EXACT = [0, 0, 0, 0, 0.0, 0.48, 0.88, 0.99, 1.0, 1.0]
"""Faithfulness of exact patching on an 81-edge model at 5, 10, 20 and 50 %, published with CPR .932 and CMD .067."""


def drawn(*shape, levels=None, seed=0):
    random = torch.Generator().manual_seed(seed)
    if levels:
        return torch.randint(levels, shape, generator=random).double()
    return torch.randn(shape, generator=random, dtype=torch.float64)


def test_faithfulness_is_0_of_the_corrupted_run_and_1_of_the_clean_one():
    f = normalised_faithfulness(torch.tensor([11.0, -11, 0, 22, -22]), torch.tensor(11.0), torch.tensor(-11.0))
    assert f.tolist() == [1, 0, 0.5, 1.5, -0.5]
    swapped = normalised_faithfulness(torch.tensor([0.25]), torch.tensor([0.0]), torch.tensor([1.0]))
    assert swapped.item() == 0.75  # a metric that drops


def test_without_a_gap_faithfulness_is_undefined():
    clean = torch.tensor([2.0, 0.0, -3.0, 2.0])
    corrupted = torch.tensor([2.0, 0.0, -3.0 * (1 + 1e-7), 2.001])
    f = normalised_faithfulness(torch.ones(4), clean, corrupted)
    assert f.isnan().tolist() == [True, True, True, False]
    assert normalised_faithfulness(torch.ones(1).half(), torch.ones(1).half() * 2, torch.zeros(1).half()) == 0.5


def test_areas_of_the_published_curve():
    areas = faithfulness_areas(SHARES, torch.tensor(EXACT, dtype=torch.float64))
    assert areas.cpr.item() == pytest.approx(0.932, abs=0.002)
    assert areas.cmd.item() == pytest.approx(0.067, abs=0.002)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_areas_of_constant_curves(dtype):
    one = faithfulness_areas(SHARES, torch.ones(10, dtype=dtype))
    assert one.cpr.item() == pytest.approx(0.999)
    assert one.cmd == one.cmd_log == 0
    assert one.cpr_log.item() == pytest.approx(1)
    over = faithfulness_areas(SHARES, torch.full((10,), 1.5, dtype=dtype))
    assert over.cpr.item() == pytest.approx(0.999 * 1.5)
    assert over.cmd.item() == pytest.approx(0.999 / 2)  # too much is as far from the model as too little
    assert over.cmd_log.item() == pytest.approx(0.5)
    assert over.cpr.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_areas_are_numpys_trapezoids():
    curves = drawn(3, 5)
    shares = (0.01, 0.03, 0.1, 0.5, 0.9)
    areas = faithfulness_areas(shares, curves)
    for x, curve in zip((areas.cpr, areas.cmd), (curves, (1 - curves).abs()), strict=True):
        assert np.allclose(x, np.trapezoid(curve, shares))
    for x, curve in zip((areas.cpr_log, areas.cmd_log), (curves, (1 - curves).abs()), strict=True):
        assert np.allclose(x, np.trapezoid(curve, np.log10(shares)) / np.log10(90))


def test_small_graphs_have_a_floor():
    assert circuit_sizes(SHARES, 81).tolist() == [0, 0, 0, 0, 1, 4, 8, 16, 40, 81]
    assert circuit_sizes(SHARES, 123_211).tolist() == [
        123,
        246,
        616,
        1232,
        2464,
        6160,
        12321,
        24642,
        61605,
        123211,
    ]
    assert circuit_sizes([0.29], 100).tolist() == [29]  # though 0.29 * 100 is below 29 in binary
    floor = least_areas(SHARES, 81)
    assert floor.cmd.item() == pytest.approx(0.009 + 0.01 / 2)  # all of .001 to .01, half of .01 to .02
    assert least_areas(SHARES, 1000).cmd == 0


@pytest.mark.parametrize("levels", [None, 2, 4], ids=["no ties", "2 levels", "4 levels"])
def test_auroc_is_scikit_learns(levels):
    scores, truth = drawn(20, 30, levels=levels), drawn(20, 30, seed=1) > 0.5
    found = edge_auroc(scores, truth)
    for row, edges, value in zip(scores, truth, found, strict=True):
        assert value.item() == pytest.approx(sklearn.metrics.roc_auc_score(edges, row), abs=1e-12)


def test_auroc_leaves_out_what_has_no_score():
    scores, truth = drawn(40), drawn(40, seed=1) > 0
    holes = scores.clone()
    holes[::4] = math.nan
    mask = torch.ones(40, dtype=torch.bool)
    mask[::4] = False
    there = [i for i in range(40) if i % 4]
    expected = sklearn.metrics.roc_auc_score(truth[there], scores[there])
    assert edge_auroc(holes, truth).item() == pytest.approx(expected)
    assert edge_auroc(scores, truth, mask).item() == pytest.approx(expected)
    assert edge_auroc(scores, torch.ones(40, dtype=torch.bool)).isnan()
    assert edge_auroc(scores, torch.zeros(40, dtype=torch.bool)).isnan()
    assert edge_auroc(truth.float(), truth) == 1
    assert edge_auroc((~truth).long(), truth) == 0


def test_jaccard_is_that_of_sets():
    a, b = drawn(10, 12) > 0.4, drawn(10, 12, seed=1) > 0.4
    for x, y, value in zip(a, b, jaccard(a, b), strict=True):
        left, right = set(x.nonzero()[:, 0].tolist()), set(y.nonzero()[:, 0].tolist())
        assert value.item() == pytest.approx(len(left & right) / len(left | right))
    nothing = torch.zeros(3, dtype=torch.bool)
    assert jaccard(nothing, nothing).isnan()
    assert jaccard(nothing, ~nothing) == 0


def test_jaccard_by_chance():
    random = torch.Generator().manual_seed(0)
    sets = torch.rand(2, 4000, 200, generator=random).argsort(-1).argsort(-1)
    found = jaccard(sets[0] < 50, sets[1] < 80).mean().item()
    assert chance_jaccard(50, 80, 200) == pytest.approx(found, abs=0.003)
    assert chance_jaccard(200, 200, 200) == 1
    assert math.isnan(chance_jaccard(0, 0, 5))
    with pytest.raises(BadInput, match="do not fit into 5"):
        chance_jaccard(6, 1, 5)


def test_agreement_is_scipys_of_sizes():
    a, b = drawn(60), drawn(60, seed=1)
    b[:30] -= 2 * a[:30]
    a[3] = b[5] = math.nan
    found = score_agreement(a, b)
    there = [i for i in range(60) if i not in (3, 5)]
    x, y = a[there].abs().numpy(), b[there].abs().numpy()
    assert found.spearman.item() == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert found.pearson.item() == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
    assert found.edges == 58
    assert score_agreement(a, -a).spearman == 1
    assert score_agreement(a, torch.ones_like(a)).spearman.isnan()
    only = torch.zeros(60, dtype=torch.bool)
    only[10:14] = True
    assert score_agreement(a, b, only).edges == 4


def test_smoothing_by_hand():
    assert smoothed(torch.tensor([1.0, 3.0, 5.0])).tolist() == [1, 2, 3.5]
    assert smoothed(torch.tensor([1.0, 3.0]), keep=0.0).tolist() == [1, 3]
    holes = smoothed(torch.tensor([math.nan, 2.0, math.nan, 4.0], dtype=torch.float64))
    assert holes.isnan().tolist() == [True, False, False, False]
    assert holes[1:].tolist() == [2, 2, 3]
    both = smoothed(drawn(9, 2))
    for column in range(2):
        assert torch.equal(both[:, column], smoothed(drawn(9, 2)[:, column]))
    weights = 0.5 ** np.arange(9, 0, -1)
    weights[0] *= 2
    assert both[-1].numpy() == pytest.approx((weights[:, None] * drawn(9, 2).numpy()).sum(0))
    assert len(smoothed(torch.zeros(0))) == 0
    with pytest.raises(BadInput, match="below 1"):
        smoothed(torch.ones(2), keep=1.0)


def test_first_appearance_by_hand():
    rows = ["0101100", "0000000", "1111111", "0000001", "0110111"]
    present = torch.tensor([[c == "1" for c in row] for row in rows]).T
    assert first_appearance(present).tolist() == [1, -1, 0, 6, 1]
    assert first_appearance(present, lasting=2).tolist() == [3, -1, 0, -1, 1]
    assert first_appearance(present, lasting=3).tolist() == [-1, -1, 0, -1, 4]
    assert first_appearance(present, lasting=8).tolist() == [-1] * 5
    assert first_appearance(present[:0]).tolist() == [-1] * 5
    with pytest.raises(BadInput, match="one time at least"):
        first_appearance(present, lasting=0)


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_the_smallest_size_of_a_growing_curve(at_once):
    for true in range(1, 101):
        asked = []

        def curve(sizes, true=true, asked=asked):
            asked.extend(sizes)
            return [0.8 if n >= true else 0.1 for n in sizes]

        size, tried = smallest_size(curve, 100, at_once=at_once)
        assert size == true
        assert len(asked) == len(set(asked)) == len(tried)
        assert len(asked) <= {1: 8, 3: 13, 8: 25}[at_once]
        size, _ = smallest_size(curve, 100, at_once=at_once, known={n: 0.8 if n >= true else 0.1 for n in (30, 60)})
        assert size == true


def test_the_smallest_size_where_there_is_none_or_little_room():
    assert smallest_size(lambda sizes: [0.79] * len(sizes), 100) == (None, {100: 0.79})
    assert smallest_size(lambda sizes: [math.nan] * len(sizes), 100)[0] is None
    size, tried = smallest_size(lambda sizes: [n / 10 for n in sizes], 10, least=9)
    assert (size, set(tried)) == (9, {9, 10})
    bumpy = {1: 0.1, 2: 0.9, 3: 0.2, 4: 0.3, 5: 1.0, 6: 1.0}
    size, tried = smallest_size(lambda sizes: [bumpy[n] for n in sizes], 6)
    assert tried[size] >= 0.8 > max((tried[n] for n in tried if n < size), default=0)
    with pytest.raises(BadInput, match="from 1 on"):
        smallest_size(lambda sizes: [1.0], 0)


def test_neurons_count_as_parts_of_their_node():
    kept = torch.tensor([[True, True, False], [True, False, True], [False, True, True]])
    assert weighted_edges(kept, torch.tensor([1.0, 0.25, 0.25])).item() == 3.0
    assert weighted_edges(kept[None, :0], torch.zeros(0)).tolist() == [0.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda: faithfulness_areas((0.1, 0.1), torch.ones(2)),
        lambda: faithfulness_areas((0.1, 0.2, 0.3), torch.ones(2)),
        lambda: faithfulness_areas((0.0, 0.2), torch.ones(2)),
        lambda: faithfulness_areas((0.5, 2.0), torch.ones(2)),
        lambda: faithfulness_areas((0.5,), torch.ones(1)),
        lambda: circuit_sizes((1.5,), 10),
    ],
)
def test_shares_that_are_none(call):
    with pytest.raises(BadInput, match=r"[Ss]hares"):
        call()
