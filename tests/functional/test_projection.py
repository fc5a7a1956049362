"""Pictures of clouds: PCA against numpy's SVD, t-SNE and UMAP on planted clusters, and clouds with nothing to see."""

import numpy as np
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import project


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
