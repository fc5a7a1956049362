"""Scores of clouds: sums of squares vector by vector, another library, chance by permutation, what cannot be said."""

import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import cluster_score, norm_gap, trait_score


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slowly(cloud, labels):
    """The adjusted share by explicit sums over the vectors of groups of at least two."""
    groups = {}
    for vector, label in zip(cloud.tolist(), labels.tolist(), strict=True):
        if label >= 0:
            groups.setdefault(label, []).append(vector)
    groups = [group for group in groups.values() if len(group) > 1]
    rows = [vector for group in groups for vector in group]

    def spread(vectors):
        middle = [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]
        return sum((x - m) ** 2 for vector in vectors for x, m in zip(vector, middle, strict=True))

    within = sum(map(spread, groups)) / (len(rows) - len(groups))
    return 1 - within / (spread(rows) / (len(rows) - 1)), len(rows), len(groups)


def test_the_norm_gap_is_queries_minus_keys():
    queries, keys = noise(2, 3, 5, 4), noise(2, 3, 7, 4, seed=1) + 3
    gap = norm_gap(queries, keys)
    by_hand = [math.sqrt(sum(x * x for x in row)) for row in queries[1, 2].tolist()]
    beside = [math.sqrt(sum(x * x for x in row)) for row in keys[1, 2].tolist()]
    assert gap[1, 2].item() == pytest.approx(sum(by_hand) / 5 - sum(beside) / 7, rel=1e-12)
    assert gap.shape == (2, 3)
    assert norm_gap(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]])).item() == -5.0
    assert norm_gap(torch.full((1, 3, 2), 300.0).half(), torch.zeros(1, 2, 2).half()).dtype == torch.float32
    with pytest.raises(BadInput, match="no key"):
        norm_gap(queries, keys[..., :0, :])


def test_clusters_agree_with_sums_over_vectors():
    labels = torch.tensor([7, 7, 3, -1, 3, 3, 900, 7, -1, 5, 5, 2])  # 900 and 2 are alone
    vectors = noise(2, 3, 12, 4) + labels[:, None] % 4
    found = cluster_score(vectors, labels)
    for i in range(2):
        for j in range(3):
            expected, points, groups = slowly(vectors[i, j], labels)
            assert found.values[i, j].item() == pytest.approx(expected, rel=1e-12)
            assert (found.points, found.groups, found.left_out) == (points, groups, 4) == (8, 3, 4)


def test_clusters_are_one_when_groups_are_points_and_zero_on_the_mean_of_all_orders():
    labels = torch.arange(40) % 4
    assert cluster_score(noise(4, 3)[labels][None], labels).values.item() == pytest.approx(1.0, abs=1e-12)
    from itertools import permutations

    cloud = noise(6, 2) * torch.tensor([5.0, 1.0])
    all_orders = [
        cluster_score(cloud, torch.tensor(order)).values.item() for order in set(permutations([0, 0, 1, 1, 1, 1]))
    ]
    assert sum(all_orders) / len(all_orders) == pytest.approx(0.0, abs=1e-12)  # raw shares: 1 / 5
    assert max(all_orders) > 0.1


def test_many_groups_raise_nothing():
    labels = torch.randint(0, 200, (400,), generator=torch.Generator().manual_seed(3))
    found = cluster_score(noise(5, 400, 16), labels)
    assert found.values.abs().max() < 0.03  # the raw share is about a half
    assert found.groups > 100


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 2], [-1, -1, -1, -1], [0, 0, -1, 1]], ids=str)
def test_clusters_need_two_groups_of_two(labels):
    found = cluster_score(noise(2, 4, 3), torch.tensor(labels))
    assert found.values.isnan().all()
    assert found.groups < 2
    assert found.points + found.left_out == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_vectors_that_are_all_the_same_have_no_variance(dtype):
    vectors = noise(3, 1, 4).expand(3, 30, 4).to(dtype) * 100
    vectors = torch.cat([vectors, noise(1, 30, 4).to(dtype)])
    labels = torch.arange(30) % 3
    for values in (cluster_score(vectors, labels).values, trait_score(vectors, noise(30)).values):
        assert values.isnan().tolist() == [True, True, True, False]


def test_types_are_kept():
    labels = torch.arange(12) % 3
    for given, expected in ((torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64,) * 2):
        assert cluster_score(noise(2, 12, 4).to(given), labels).values.dtype == expected
        assert trait_score(noise(2, 12, 4).to(given), noise(12)).values.dtype == expected
    exact = cluster_score(noise(12, 4) + labels[:, None], labels).values
    rough = cluster_score((noise(12, 4) + labels[:, None]).half(), labels).values
    assert rough.item() == pytest.approx(exact.item(), abs=2e-3)


# ---- traits ----------------------------------------------------------------------------------------------------------


def test_a_trait_agrees_with_regression_of_each_dimension():
    from sklearn.linear_model import LinearRegression

    values, vectors = noise(30, seed=5), noise(2, 30, 4)
    vectors = vectors + values[:, None] * torch.tensor([2.0, 0, 0, -1])
    found = trait_score(vectors, values)
    for head, score in zip(vectors.numpy(), found.values.tolist(), strict=True):
        left = head - LinearRegression().fit(values[:, None].numpy(), head).predict(values[:, None].numpy())
        raw = 1 - (left**2).sum() / ((head - head.mean(0)) ** 2).sum()
        assert score == pytest.approx(1 - (1 - raw) * 29 / 28, rel=1e-12)
    assert found.points == 30


def test_a_circular_trait_goes_around():
    turns = torch.linspace(0, 1, 41, dtype=torch.float64)[:-1]
    circle = torch.stack([(2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()], -1)
    assert trait_score(circle, turns, circular=True).values.item() == pytest.approx(1.0, abs=1e-12)
    assert trait_score(circle, turns + 3, circular=True).values.item() == pytest.approx(1.0, abs=1e-12)
    assert trait_score(circle, turns).values.item() < 0.5
    line = turns[:, None] * torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert trait_score(line, turns).values.item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("circular", [False, True])
def test_a_permuted_trait_explains_nothing(circular):
    values = torch.rand(300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    angle = 2 * math.pi * values[:, None]
    vectors = torch.cat([angle.cos(), angle.sin(), values[:, None], noise(300, 1) / 10], -1)
    assert trait_score(vectors, values, circular=circular).values.item() > 0.3
    orders = [torch.randperm(300, generator=torch.Generator().manual_seed(seed)) for seed in range(200)]
    by_chance = [trait_score(vectors, values[order], circular=circular).values.item() for order in orders]
    assert abs(sum(by_chance) / 200) < 0.001  # unadjusted: 0.003 a regressor
    assert max(by_chance) < 0.05


def test_values_that_are_not_there_are_left_out():
    values, vectors = noise(20), noise(20, 3)
    gaps = values.clone()
    gaps[[2, 5]] = torch.nan
    kept = [i for i in range(20) if i not in (2, 5)]
    found = trait_score(vectors, gaps)
    assert found.values.item() == pytest.approx(trait_score(vectors[kept], values[kept]).values.item(), rel=1e-12)
    assert (found.points, found.left_out) == (18, 2)
    for circular in (False, True):
        for nothing in (torch.full((20,), torch.nan), torch.full((20,), 0.3)):
            assert trait_score(vectors, nothing, circular=circular).values.isnan()
        assert trait_score(vectors[:2], values[:2], circular=circular).values.isnan()


def test_a_circular_trait_of_two_opposite_values_counts_as_one_regressor():
    values = torch.tensor([0.0, 0.5] * 10, dtype=torch.float64)
    vectors = noise(20, 3)
    once = trait_score(vectors, values).values.item()
    assert trait_score(vectors, values, circular=True).values.item() == pytest.approx(once, rel=1e-9)


def test_lengths_that_differ_are_a_sentence(as_installed):
    with pytest.raises(BadInput, match="5 vectors and 4 labels"):
        cluster_score(noise(5, 3), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(BadInput, match="5 vectors and 4 values"):
        trait_score(noise(5, 3), torch.zeros(4))


def test_no_points_have_no_score():
    found = cluster_score(noise(2, 0, 3), torch.zeros(0, dtype=torch.int64))
    assert found.values.isnan().tolist() == [True, True] and found.points == 0


def test_what_has_no_score_is_a_sentence(as_installed):
    labels = torch.tensor([0, 0, 1, 1, 1])
    vectors = noise(5, 3)
    for wrong, says in ((vectors[:, 0], "Vectors have the axes"), (vectors / torch.tensor([0.0, 1, 1]), "5 of 5")):
        with pytest.raises(BadInput, match=says):
            cluster_score(wrong, labels)
        with pytest.raises(BadInput, match=says):
            trait_score(wrong, labels / 2)
    with pytest.raises(BadInput, match=r"Labels have the axes \(point\)"):
        cluster_score(vectors, labels[:, None])
    with pytest.raises(BadInput, match="Labels are whole numbers"):
        cluster_score(vectors, labels / 2)
    with pytest.raises(BadInput, match="not of the same heads"):
        norm_gap(noise(3, 5, 4), noise(2, 5, 4))
    with pytest.raises(BadInput, match="Queries and keys have the axes"):
        norm_gap(noise(4), noise(4))
