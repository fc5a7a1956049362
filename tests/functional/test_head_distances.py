"""Distances between heads against scipy, scikit-learn and plain loops; maps of them against what they must keep."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.spatial.distance import jensenshannon, pdist, squareform
from sklearn.manifold import MDS
from sklearn.metrics import euclidean_distances

from workbench.errors import BadInput
from workbench.functional import head_distances, mds, pattern_divergence, principal_angles, subspace_distance


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def patterns(heads, n, *, causal=False, seed=0):
    scores = 2 * drawn(heads, n, n, seed=seed)
    return (scores.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf) if causal else scores).softmax(-1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("block", [2**23, 30])
def test_divergence_is_the_mean_over_all_rows_of_all_inputs(causal, block, monkeypatch):
    monkeypatch.setattr(head_distances, "_BLOCK", block)
    inputs = [patterns(5, n, causal=causal, seed=n) for n in (3, 7, 4)]
    found = pattern_divergence(iter(inputs))
    for a, b in itertools.product(range(5), repeat=2):
        each = [jensenshannon(one[a, q], one[b, q]) ** 2 for one in inputs for q in range(one.shape[1])]
        assert found[a, b].item() == pytest.approx(np.mean(each), abs=1e-12)
    assert found.diagonal().eq(0).all() and torch.equal(found, found.T)


def test_heads_that_never_look_at_the_same_token_are_log_two_apart():
    one = torch.eye(4)
    other = one.roll(1, 1)
    found = pattern_divergence(torch.stack([one, other, one])[None])
    assert found[0, 1].item() == pytest.approx(math.log(2)) and found[0, 2] == 0


def test_padded_rows_and_columns_count_for_nothing():
    real = patterns(3, 5, seed=2)
    padded = torch.nn.functional.pad(real, (2, 1, 2, 1))
    torch.testing.assert_close(pattern_divergence([padded]), pattern_divergence([real]))


def test_half_precision_divergence_is_single():
    real = patterns(3, 5).half()
    found = pattern_divergence([real])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pattern_divergence([real.float()], precision=torch.half), rtol=0, atol=0)


def test_the_root_of_the_divergence_is_euclidean():
    distance = pattern_divergence(patterns(4 * 8, 6).view(4, 8, 6, 6)).sqrt()
    assert mds(distance, dims=8).stress < 1e-7  # 7 dimensions hold 8 points


@pytest.mark.parametrize(("d_model", "d_head"), [(30, 4), (20, 6), (6, 6), (5, 8)])
@pytest.mark.parametrize("block", [2**23, 50])
def test_subspace_distance_is_by_scipys_angles(d_model, d_head, block, monkeypatch):
    monkeypatch.setattr(head_distances, "_BLOCK", block)
    w = drawn(4, d_model, d_head)
    w[3] = w[0] @ drawn(d_head, d_head, seed=1)  # the same space in other words
    found = subspace_distance(w)
    for a, b in itertools.product(range(4), repeat=2):
        angles = scipy.linalg.subspace_angles(w[a].numpy(), w[b].numpy())
        assert found[a, b].item() == pytest.approx(math.sqrt(np.mean(np.sin(angles) ** 2)), abs=1e-6)
    assert found[0, 3] < 1e-6 and found.diagonal().eq(0).all()


def test_subspace_distance_of_single_precision_is_exact_enough_to_see_what_is_shared():
    w = drawn(2, 64, 16, dtype=torch.float32)
    again = subspace_distance(torch.stack([w[0], w[0].clone(), w[1]]))
    assert again.dtype == torch.float32 and again[0, 1] < 1e-6 and again[0, 2] > 0.8


def test_spaces_of_other_sizes_and_none():
    """Half of the other: of two directions one is shared, the other has no partner."""
    line = torch.zeros(4, 6, 2)
    line[0, 0, 0] = line[0, 1, 1] = 1  # the first two axes
    line[1, 0] = torch.tensor([2.0, 1.0])  # the first axis twice
    found = subspace_distance(line)
    assert found[0, 1].item() == pytest.approx(math.sqrt(1 / 2))
    assert found[2, :2].eq(1).all() and found[2, 2:].eq(0).all()  # no weights: nothing shared but with the like


def test_directions_that_are_rounding_do_not_count():
    thin = (drawn(9, 1) @ drawn(1, 2, seed=1)).float()  # one direction, and in double precision some noise beside it
    assert torch.linalg.matrix_rank(thin.double()) == 2
    found = subspace_distance(torch.stack([thin, torch.cat([thin[:, :1], drawn(9, 1, seed=2).float()], 1)]))
    assert found[0, 1].item() == pytest.approx(math.sqrt(1 / 2), abs=1e-6)


def test_random_spaces_are_where_the_docstring_says():
    found = subspace_distance(drawn(6, 256, 32))
    off = found[~torch.eye(6, dtype=torch.bool)]
    torch.testing.assert_close(off, torch.full_like(off, math.sqrt(1 - 32 / 256)), rtol=0, atol=0.01)


def test_principal_angles_are_scipys_small_ones_too():
    a = drawn(20, 4)
    b = a @ drawn(4, 4, seed=1) + 1e-7 * drawn(20, 4, seed=2)
    for other in (drawn(20, 4, seed=3), b):
        expected = np.sort(scipy.linalg.subspace_angles(a.numpy(), other.numpy()))
        np.testing.assert_allclose(principal_angles(a, other), expected, rtol=1e-6, atol=1e-12)
    assert principal_angles(a, b).max() > 1e-9
    planes = torch.eye(4, dtype=torch.float64)
    tilted = torch.stack([planes[0], math.cos(0.3) * planes[1] + math.sin(0.3) * planes[2]], 1)
    np.testing.assert_allclose(principal_angles(planes[:, :2], tilted), [0, 0.3], atol=1e-12)


def test_a_map_of_a_plane_is_the_plane():
    points = drawn(12, 2) * torch.tensor([3.0, 1.0])
    found = mds(torch.cdist(points, points))
    torch.testing.assert_close(torch.cdist(found.coordinates, found.coordinates), torch.cdist(points, points))
    assert found.stress < 1e-7 and found.kept == pytest.approx(1)
    centred = (points - points.mean(0)).numpy()
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.coordinates.abs(), np.abs(u * s), atol=1e-8)
    farthest = found.coordinates.gather(0, found.coordinates.abs().argmax(0, keepdim=True))
    assert farthest.gt(0).all()


def test_a_map_keeps_as_much_as_it_says():
    points = drawn(15, 6)
    distances = torch.from_numpy(squareform(pdist(points.numpy())))
    found = mds(distances)
    variances = np.linalg.svd((points - points.mean(0)).numpy(), compute_uv=False) ** 2
    assert found.kept == pytest.approx(variances[:2].sum() / variances.sum())
    drawn_apart = euclidean_distances(found.coordinates.numpy())
    expected = math.sqrt(((drawn_apart - distances.numpy()) ** 2).sum() / (distances.numpy() ** 2).sum())
    assert found.stress == pytest.approx(expected)
    assert torch.equal(mds(distances).coordinates, found.coordinates)


def test_stress_is_near_what_scikit_learn_reaches_by_search():
    """Classical scaling minimises another sum, so the search may do better, but not by much on points of a blob."""
    distances = euclidean_distances(drawn(15, 3).numpy())
    search = MDS(n_components=2, metric="precomputed", n_init=2, random_state=0, init="random")
    best = euclidean_distances(search.fit_transform(distances))
    reached = math.sqrt(((best - distances) ** 2).sum() / (distances**2).sum())
    assert reached <= mds(torch.from_numpy(distances)).stress + 1e-9 < 1.5 * reached + 0.05


def test_maps_of_nothing_and_of_one():
    assert mds(torch.zeros(3, 3)).coordinates.eq(0).all()
    assert (mds(torch.zeros(3, 3)).kept, mds(torch.zeros(3, 3)).stress) == (1, 0)
    assert mds(torch.zeros(1, 1)).coordinates.tolist() == [[0, 0]]
    pair = mds(torch.tensor([[0.0, 2.0], [2.0, 0.0]]))
    torch.testing.assert_close(pair.coordinates.abs(), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert pair.stress < 1e-6


def test_what_cannot_be_compared_is_a_sentence(as_installed):
    for wrong in (torch.nan, torch.inf, -1.0):
        one = patterns(2, 3)
        one[1, 2, 0] = wrong
        with pytest.raises(BadInput, match="never negative, and that of head 1 is not, first in row 2"):
            pattern_divergence([patterns(2, 3), one])
        with pytest.raises(BadInput, match="that of layer 4, head 0 is not"):
            pattern_divergence([one], names=("the first", "layer 4, head 0"))
    one = patterns(2, 3)
    one[1, 2] *= 3
    with pytest.raises(BadInput, match=r"row 2 of head 1 sums to 3\. "):
        pattern_divergence([one])
    with pytest.raises(BadInput, match=r"axes \(head, query, key\); these have the shape \(3, 3\)"):
        pattern_divergence(patterns(2, 3))
    with pytest.raises(BadInput, match=r"shape \(1, 2, 3, 3\)"):
        pattern_divergence([patterns(2, 3)[None]])
    with pytest.raises(BadInput, match="same heads"):
        pattern_divergence([patterns(2, 3), patterns(3, 3)])
    for nothing in ([], [torch.zeros(2, 3, 3)]):
        with pytest.raises(BadInput, match="no rows"):
            pattern_divergence(nothing)
    with pytest.raises(BadInput, match="NaN or infinity"):
        subspace_distance(drawn(2, 5, 2) / 0)
    for one in (drawn(5, 2), drawn(1, 2, 5, 2)):
        with pytest.raises(BadInput, match="head, d_model, d_head"):
            subspace_distance(one)
    with pytest.raises(BadInput, match="5 of 5 rows hold NaN"):
        principal_angles(drawn(5, 2), drawn(5, 2) * torch.nan)
    for a, b in ((drawn(5, 2), drawn(6, 2)), (drawn(2, 5), drawn(2, 5)), (drawn(3, 5, 2), drawn(2, 5, 2))):
        with pytest.raises(BadInput, match="do not fit"):
            principal_angles(a, b)
    with pytest.raises(BadInput, match=r"axes \(\*, d_model, rank\)"):
        principal_angles(drawn(5), drawn(5))
    for wrong in (torch.ones(2, 2), torch.tensor([[0.0, 1], [2, 0]]), torch.tensor([[0.0, -1], [-1, 0]])):
        with pytest.raises(BadInput, match="the same both ways"):
            mds(wrong)
    for one in (torch.zeros(3), torch.zeros(2, 3, 3)):
        with pytest.raises(BadInput, match=r"axes \(head, head\)"):
            mds(one)
    with pytest.raises(BadInput, match="dims is a whole number, not 2.0"):
        mds(torch.zeros(2, 2), dims=2.0)
    with pytest.raises(BadInput, match="square"):
        mds(torch.zeros(2, 3))
    with pytest.raises(BadInput, match="one dimension"):
        mds(torch.zeros(2, 2), dims=0)


def test_half_precision_may_round_its_rows():
    half = patterns(2, 30).bfloat16()
    assert (half.float().sum(-1) - 1).abs().max() > 1e-4
    found = pattern_divergence([half])
    assert torch.equal(found, pattern_divergence([half.float()], precision=torch.bfloat16))
    with pytest.raises(BadInput, match="sum to one"):
        pattern_divergence([half.float()])
