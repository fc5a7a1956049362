"""Trustworthiness and neighbour preservation against scikit-learn and a plain loop, and where they are 1 or chance."""

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness as theirs

from workbench.errors import BadInput
from workbench.functional import neighbour_preservation, picture_quality, trustworthiness

METRICS = ["cosine", "euclidean"]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distances(points, metric):
    if metric == "cosine":
        points = points / points.norm(dim=-1, keepdim=True)
    return [[float((a - b).norm()) for b in points] for a in points]


def preserved(points, picture, k, metric):
    """The mean share of common neighbours, from two sorted lists a point."""
    shares = []
    for i, (full, flat) in enumerate(zip(distances(points, metric), distances(picture, "euclidean"), strict=True)):
        others = [j for j in range(len(points)) if j != i]
        near = [set(sorted(others, key=row.__getitem__)[:k]) for row in (full, flat)]
        shares.append(len(near[0] & near[1]) / k)
    return np.mean(shares)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 5, 14])
@pytest.mark.parametrize("dims", [2, 3])
def test_agree_with_scikit_learn_and_a_loop(metric, k, dims):
    points = drawn(2, 30, 6)
    points[:, :, 0] *= 3
    pictures = points[..., :dims] + 0.3 * drawn(2, 30, dims, seed=1)
    found = picture_quality(points, pictures, k, metric=metric)
    for head in range(2):
        expected = theirs(points[head].numpy(), pictures[head].numpy(), n_neighbors=k, metric=metric)
        assert float(found.trustworthiness[head]) == pytest.approx(expected, abs=1e-12) and 0.5 < expected < 0.99
        expected = preserved(points[head], pictures[head], k, metric)
        assert float(found.preservation[head]) == pytest.approx(expected, abs=1e-12) and 0.05 < expected < 0.95
    assert torch.equal(trustworthiness(points, pictures, k, metric=metric), found.trustworthiness)
    assert torch.equal(neighbour_preservation(points, pictures, k, metric=metric), found.preservation)


def test_a_picture_that_is_the_space_scores_one():
    points = drawn(3, 400, 2).float()
    turned = points @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    found = picture_quality(points, 7 * turned + 3, metric="euclidean", anchors=400)
    # A few distances that differ by less than single precision change places.
    assert (found.trustworthiness > 1 - 1e-6).all() and (found.preservation > 0.999).all()
    on_circle = drawn(400, 1)
    circle = torch.cat([on_circle.cos(), on_circle.sin()], -1)
    stretched = circle * drawn(400, 1, seed=1).abs()  # cosine does not see lengths
    found = picture_quality(stretched, circle, anchors=400)
    assert found.trustworthiness == 1 and found.preservation == 1


@pytest.mark.parametrize("metric", METRICS)
def test_a_random_picture_and_one_of_one_point_score_chance(metric):
    points = drawn(1000, 8)
    for picture in (drawn(1000, 2, seed=1), torch.zeros(1000, 2, dtype=torch.float64)):
        found = picture_quality(points, picture, 10, metric=metric)
        assert found.chance == 10 / 999
        assert float(found.preservation) == pytest.approx(found.chance, abs=0.006)  # 3000 draws
        assert float(found.trustworthiness) == pytest.approx(0.5, abs=0.02)


def test_anchors_estimate_what_all_points_give():
    points = drawn(1500, 10)
    picture = points[:, :2].contiguous()
    exact = picture_quality(points, picture, anchors=1500)
    assert torch.equal(exact.preservation, picture_quality(points, picture, anchors=10**6).preservation)
    guesses = [picture_quality(points, picture, anchors=300, seed=seed) for seed in range(6)]
    assert len({float(guess.preservation) for guess in guesses}) == 6  # other anchors
    for guess in guesses:
        assert float(guess.preservation) == pytest.approx(float(exact.preservation), abs=0.01)
        assert float(guess.trustworthiness) == pytest.approx(float(exact.trustworthiness), abs=0.02)
    again = picture_quality(points, picture, anchors=300, seed=5)
    assert torch.equal(again.trustworthiness, guesses[5].trustworthiness)


@pytest.mark.parametrize("metric", METRICS)
def test_which_of_equal_points_is_near_does_not_matter(metric):
    places = drawn(20, 5)
    points = places.repeat_interleave(10, 0)  # ten points at each place
    picture = points[:, :2] + 100 * torch.arange(20.0).double().repeat_interleave(10)[:, None]
    picture = picture + 0.01 * drawn(200, 2, seed=1)  # each place a clump far from the others
    found = picture_quality(points, picture, 5, metric=metric, anchors=200)
    assert found.trustworthiness == 1 and found.preservation == 1


def test_zero_vectors_are_a_direction_of_their_own():
    points = torch.cat([drawn(20, 4).abs() + 1, torch.zeros(20, 4).double()])
    apart, mixed = drawn(40, 2, seed=1), drawn(40, 2, seed=2)
    apart[20:] += 50
    for picture in (apart, mixed):
        found = picture_quality(points, picture, 5)
        own = torch.tensor([[0.0]] * 20 + [[9.0]] * 20).double()
        said = picture_quality(torch.cat([points, own], -1), picture, 5)
        assert found.preservation == said.preservation and found.trustworthiness == said.trustworthiness
    assert picture_quality(points, apart, 5).trustworthiness > 0.9 > picture_quality(points, mixed, 5).trustworthiness
    assert picture_quality(points[20:], mixed[20:], 5).trustworthiness == 1  # all of them are equally near


def test_blocks_types_and_shapes_change_nothing(monkeypatch):
    points, picture = drawn(2, 2, 60, 5), drawn(2, 2, 60, 2, seed=1)
    whole = picture_quality(points, picture, 7)
    assert whole.preservation.shape == (2, 2)
    single = picture_quality(points.float(), picture.half(), 7)
    assert single.preservation.dtype == torch.float32
    monkeypatch.setattr("workbench.functional.projection_quality.BLOCK", 100)  # a row at a time
    assert torch.equal(picture_quality(points, picture, 7).trustworthiness, whole.trustworthiness)
    one = picture_quality(points[1, 0], picture[1, 0], 7)
    assert one.preservation.shape == () and one.preservation == whole.preservation[1, 0]


@pytest.mark.parametrize(
    ("points", "picture", "options", "says"),
    [
        (drawn(30, 4), drawn(30, 2), {"k": 15}, "less than half of them, at most 14 here"),
        (drawn(30, 4), drawn(30, 2), {"k": 0}, "k=0"),
        (drawn(2, 4), drawn(2, 2), {}, "it takes 3 points at least"),
        (drawn(30, 4), drawn(29, 2), {}, "not of the same points"),
        (drawn(40, 4), drawn(40, 2), {"anchors": 0}, "one anchor at least"),
        (drawn(40, 4), drawn(40, 2), {"metric": "dot"}, "'cosine' or 'euclidean', not 'dot'"),
        (drawn(40, 4).log(), drawn(40, 2), {}, "points hold NaN or infinity"),
        (drawn(40, 4), drawn(40, 2) / 0, {}, "40 coordinates hold NaN or infinity"),
    ],
)
def test_what_cannot_be_judged_is_said(points, picture, options, says, as_installed):
    with pytest.raises(BadInput, match=says):
        picture_quality(points, picture, **options)
