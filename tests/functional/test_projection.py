"""Pictures of clouds: PCA against numpy's SVD, t-SNE and UMAP on planted clusters, and clouds with nothing to see."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from workbench import progress
from workbench.errors import BadInput
from workbench.functional import picture_quality, project


def cloud(*shape, seed=0, dtype=torch.float64):
    """Normal points whose axes have different spreads, away from the origin."""
    random = torch.Generator().manual_seed(seed)
    points = torch.randn(*shape, generator=random, dtype=torch.float64) * torch.linspace(3, 1, shape[-1]).double()
    return (points + 5).to(dtype)


def by_svd(points, dims):
    """Coordinates and share of the variance of one cloud, from the singular values of the centred points."""
    centred = points - points.mean(0)
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign([axis[np.abs(axis).argmax()] for axis in v[:dims]])
    return (u * s)[:, :dims] * signs, (s[:dims] ** 2).sum() / (s**2).sum()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("shape", [(40, 7), (2, 3, 40, 7), (5, 12), (0, 6, 4)], ids=str)
def test_pca_is_the_singular_value_decomposition(shape, dims):
    if 0 in shape:
        with pytest.raises(BadInput, match="something along each"):
            project(cloud(*shape), dims=dims)
        return
    points = cloud(*shape)
    found = project(points, dims=dims)
    assert found.coordinates.shape == (*shape[:-1], dims) and found.explained.shape == shape[:-2]
    for ours, share, one in zip(
        found.coordinates.reshape(-1, *shape[-2:-1], dims),
        found.explained.flatten(),
        points.reshape(-1, *shape[-2:]),
        strict=True,
    ):
        expected, explained = by_svd(one.numpy(), dims)
        np.testing.assert_allclose(ours, expected, atol=1e-12)
        assert float(share) == pytest.approx(explained, abs=1e-14)


def test_pca_of_single_and_half_precision_and_float64():
    points = cloud(2, 50, 8) + 100
    assert project(points).coordinates.dtype == torch.float64
    for dtype in (torch.float32, torch.float16):
        found = project(points.to(dtype))
        assert found.coordinates.dtype == found.explained.dtype == torch.float32
        expected = project(points.to(dtype).double()).coordinates  # nothing is lost but what the points have lost
        torch.testing.assert_close(found.coordinates, expected.float(), rtol=1e-6, atol=1e-5)


def test_the_largest_loading_of_an_axis_is_positive():
    for seed in range(5):
        points = cloud(60, 6, seed=seed)
        centred = points - points.mean(0)
        drawn = project(points, dims=3).coordinates
        axes = torch.linalg.lstsq(centred, drawn).solution  # (d, axis): what made the coordinates
        assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()
        torch.testing.assert_close(project(100 - points, dims=3).coordinates, -drawn)  # on the same axes
    tied = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [3.0, -3.0]]).double()
    for noise in (1e-12, -1e-12):  # two loadings equal but for rounding: the first is positive
        line = tied + torch.tensor([noise, 0]) * tied
        assert project(line).coordinates[:, 0].tolist() == pytest.approx([0, -(8**0.5), 8**0.5], abs=1e-9)


def test_a_turned_cloud_has_the_same_picture():
    points = cloud(50, 6)
    turn = torch.linalg.qr(cloud(6, 6, seed=1)).Q
    same, turned = project(points), project(points @ turn)
    torch.testing.assert_close(turned.coordinates.abs(), same.coordinates.abs())
    torch.testing.assert_close(turned.explained, same.explained)


def test_axes_with_nothing_along_them_are_zero():
    steps = torch.arange(20.0)[:, None]
    line = project(3 + steps * torch.tensor([[3.0, 4.0, 0.0]]), dims=3)
    torch.testing.assert_close(line.coordinates[:, 0], 5 * (steps[:, 0] - 9.5))
    assert (line.coordinates[:, 1:] == 0).all() and line.explained == 1
    thin = project(steps, dims=3)  # fewer axes than the picture
    torch.testing.assert_close(thin.coordinates[:, 0], steps[:, 0] - 9.5)
    assert (thin.coordinates[:, 1:] == 0).all() and thin.explained == 1
    rounds = torch.full((3, 4), 0.1, dtype=torch.float64)
    assert (rounds.mean(0) != rounds[0]).all()  # what is left when it is taken away is rounding alone
    assert (project(rounds).coordinates == 0).all() and project(rounds).explained.isnan()
    single = project(torch.ones(1, 4))
    assert (single.coordinates == 0).all() and single.explained.isnan()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_points_that_are_all_one_are_drawn_on_zero_and_explain_nothing(method):
    points = cloud(3, 40, 5, dtype=torch.float32)
    points[1] = 0.1  # a mean of which rounds
    found = project(points, method, perplexity=5)
    assert (found.coordinates[1] == 0).all() and found.coordinates.isfinite().all()
    if method == "pca":
        assert found.explained.isnan().tolist() == [False, True, False]
    else:
        assert found.explained is None
        direction = points[1] * torch.arange(1, 41)[:, None]
        assert (project(direction, method, perplexity=5).coordinates == 0).all()


def test_shared_is_one_projection_of_all_points():
    points = cloud(2, 3, 20, 5)
    points[1] += 4
    found = project(points, shared=True)
    expected = project(points.reshape(120, 5))
    assert torch.equal(found.coordinates.reshape(120, 2), expected.coordinates)
    assert (found.explained == expected.explained).all() and found.explained.shape == (2, 3)
    assert not torch.allclose(found.coordinates, project(points).coordinates)


def test_blocks_change_nothing_and_are_reported(monkeypatch):
    points = cloud(5, 30, 4)
    whole, heard = project(points), []
    monkeypatch.setattr("workbench.functional.principal.BLOCK", 240)  # two clouds
    with progress.reporting(lambda *report: heard.append(report)):
        assert torch.equal(project(points).coordinates, whole.coordinates)
    assert heard == [("PCA", done, 5) for done in (0, 2, 4, 5)]


def planted(n_clusters=20, each=12, d=30):
    """Clusters at places drawn in a space of many dimensions, of which two axes cannot tell many apart."""
    places = 2 * cloud(n_clusters, d, seed=1)
    return (places[:, None] + cloud(n_clusters, each, d, seed=2)).flatten(0, 1)


def quality(points, method, **options):
    drawn = project(points, method, **options).coordinates
    assert drawn.shape == (len(points), options.get("dims", 2)) and drawn.isfinite().all()
    found = picture_quality(points, drawn, 10, anchors=len(points), metric=options.get("metric", "cosine"))
    return float(found.trustworthiness), float(found.preservation)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_tsne_keeps_more_of_planted_clusters_than_pca(metric):
    points = planted()
    straight = quality(points, "pca", metric=metric)
    bent = quality(points, "tsne", metric=metric, perplexity=10)
    assert bent[0] > straight[0] + 0.1 and bent[1] > straight[1] + 0.3
    assert bent[0] > 0.99


def test_tsne_is_repeatable_and_takes_its_options():
    points = planted(4, 12, 8)
    first = project(points, "tsne", perplexity=8).coordinates
    assert first.dtype == torch.float64 and torch.equal(first, project(points, "tsne", perplexity=8).coordinates)
    others = [{"seed": 1}, {"perplexity": 12.5}, {"metric": "euclidean"}, {"dims": 3}]
    for options in others:
        other = project(points, "tsne", **{"perplexity": 8, **options}).coordinates
        assert other.shape[-1] == options.get("dims", 2) and not torch.equal(other[..., :2], first)
    stretched = points * (1 + torch.arange(48.0).double()[:, None])  # which cosine does not see
    assert float((project(stretched, "tsne", perplexity=8).coordinates - first).abs().max()) < 1
    both = project(torch.stack([points, points + 1]), "tsne", perplexity=8).coordinates
    assert torch.equal(both[0], first)  # of one cloud the same by itself and among others


def test_tsne_of_distances_beyond_single_precision():
    points = planted(4, 12, 8)
    expected = project(points, "tsne", metric="euclidean", perplexity=8).coordinates
    for scale in (2.0**90, 2.0**-90):  # whose squares single precision does not hold
        found = project(points * scale, "tsne", metric="euclidean", perplexity=8).coordinates
        assert torch.equal(found, expected)


def test_tsne_of_equal_points_and_of_zero_vectors():
    places = cloud(4, 6)
    places[3] = 0
    drawn = project(places.repeat_interleave(8, 0), "tsne", perplexity=5).coordinates.reshape(4, 8, 2)
    assert drawn.isfinite().all()
    spread = (drawn - drawn.mean(1, keepdim=True)).norm(dim=-1).max()
    assert torch.nn.functional.pdist(drawn.mean(1)).min() > spread  # four clumps, the zero vectors one of them


@pytest.mark.slow
def test_umap_keeps_more_of_planted_clusters_than_pca_and_is_repeatable():
    points = planted()
    points[-3:] = 0  # a direction of their own
    straight, bent = quality(points, "pca"), quality(points, "umap")
    assert bent[0] > straight[0] + 0.1 and bent[1] > straight[1] + 0.3
    assert bent[0] > 0.98
    first = project(points, "umap").coordinates
    assert torch.equal(first, project(points, "umap").coordinates)
    assert not torch.equal(first, project(points, "umap", seed=1).coordinates)
    assert project(points, "umap", dims=3, metric="euclidean").coordinates.shape == (240, 3)
    opposite = torch.cat([cloud(30, 1).abs(), -torch.ones(1, 1).double()])  # as far from all others as can be
    assert project(opposite, "umap", n_neighbors=5).coordinates.isfinite().all()
    assert (project(cloud(30, 1).abs(), "umap").coordinates == 0).all()  # one direction


def test_umap_leaves_the_number_of_threads_alone():
    code = (
        "import os, torch; from workbench.functional import project\n"
        "torch.set_num_threads(os.cpu_count() + 1)\n"
        "project(torch.randn(40, 4), 'umap', n_neighbors=5); assert torch.get_num_threads() == os.cpu_count() + 1"
    )
    free = {name: value for name, value in os.environ.items() if name != "NUMBA_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=free)
    assert done.returncode == 0, done.stderr


def test_whole_numbers_are_drawn_as_the_same_numbers_with_a_fraction(as_installed):
    points = torch.randint(-9, 9, (2, 30, 4), generator=torch.Generator().manual_seed(0))
    found, expected = project(points), project(points.float())
    assert found.coordinates.dtype == found.explained.dtype == torch.float32
    assert torch.equal(found.coordinates, expected.coordinates)


@pytest.mark.parametrize("size", [2.0**664, 2.0**-664])  # 1e200 and 1e-200
def test_size_changes_nothing_but_the_size(size):
    points = cloud(2, 40, 4).double()
    plain, sized = project(points), project(points * size)
    assert torch.equal(sized.coordinates, plain.coordinates * size)
    assert torch.equal(sized.explained, plain.explained)
    for metric in ("cosine", "euclidean"):
        plain, sized = (project(x[0], "tsne", metric=metric, perplexity=5) for x in (points, points * size))
        assert torch.equal(plain.coordinates, sized.coordinates)


@pytest.mark.parametrize(
    ("points", "options", "says"),
    [
        (cloud(20, 4), {"method": "tsne"}, "there are 20 points: take perplexity=6"),
        (cloud(20, 4), {"method": "tsne", "perplexity": 0}, "perplexity, 0"),
        (cloud(1, 4), {"method": "tsne"}, "there are 1 points: take more points"),
        (cloud(5, 4), {"method": "tsne"}, "take perplexity=2, or more points"),
        (cloud(40, 4), {"metric": "foo"}, "not 'foo'"),
        (cloud(40, 4), {"method": "umap", "n_neighbors": 5.0}, "n_neighbors is a whole number, not 5.0"),
        (torch.tensor([[3e38, 3e38], [-3e38, -3e38]]), {}, "too far apart for numbers of float32"),
        (cloud(15, 4), {"method": "umap"}, "n_neighbors=15 nearest of each point, and there are 15.*from 2 to 14"),
        (cloud(2, 4), {"method": "umap"}, "it needs 3 at least"),
        (cloud(40, 4), {"method": "mds"}, "'mds'; there are 'pca', 'tsne' and 'umap'"),
        (cloud(40, 4), {"dims": 4}, "2 or 3 dimensions, not 4"),
        (cloud(40, 4), {"method": "tsne", "metric": "dot"}, "not 'dot'"),
        (cloud(40, 4), {"method": "tsne", "seed": -1}, "not -1"),
        (cloud(4), {}, r"axes \(point, d\)"),
        (cloud(2, 0, 4), {}, "something along each"),
        (torch.tensor([[1.0, 2], [torch.nan, 1], [torch.inf, 0]]), {}, "2 of 3 points hold NaN or infinity"),
    ],
)
def test_what_cannot_be_drawn_is_said(points, options, says, as_installed):
    with pytest.raises(BadInput, match=says):
        project(points, **options)
