"""Thumbnails: sizes, exact block means and maxima, what stays visible."""

import numpy as np
import pytest
import torch

from workbench.functional import thumbnails


def test_area_is_the_mean_and_max_the_largest_of_each_block():
    pattern = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    blocks = pattern.numpy().reshape(2, 3, 48, 2, 48, 2)
    for pooling, reduce in (("area", np.mean), ("max", np.max)):
        pictures = thumbnails(pattern, 48, pooling=pooling)
        expected = np.round(reduce(blocks, axis=(3, 5)) * 255)
        assert pictures.shape == (2, 3, 48, 48) and pictures.dtype == torch.uint8
        assert np.abs(pictures.numpy() - expected).max() <= 1  # rounding of a half


def test_small_patterns_keep_their_size_and_values():
    pattern = torch.tensor([[1.0, 0.0], [0.2, 0.8]])
    assert thumbnails(pattern).tolist() == [[255, 0], [51, 204]]
    assert thumbnails(torch.eye(3)[:2], 48).shape == (2, 3)


@pytest.mark.parametrize("size", [500, 512])
def test_a_thin_diagonal_stays_visible_under_max_only(size):
    assert thumbnails(torch.eye(size), 48).diagonal().eq(255).all()
    assert thumbnails(torch.eye(size), 48, pooling="area").max() < 40


def test_stretch_makes_the_largest_white_and_an_empty_pattern_black():
    faint = torch.tensor([[0.1, 0.05], [0.0, 0.0]])
    assert thumbnails(faint, stretch=True).tolist() == [[255, 128], [0, 0]]
    assert thumbnails(torch.zeros(4, 4), stretch=True).eq(0).all()


def test_half_precision_and_nan():
    assert thumbnails(torch.eye(100).half(), 10).max() == 255
    holed = torch.ones(4, 4)
    holed[0, 0] = torch.nan
    assert thumbnails(holed, 2, pooling="area").tolist() == [[191, 255], [255, 255]]
    assert thumbnails(torch.full((4, 4), torch.nan), stretch=True).eq(0).all()
