"""Merging positions into words, by hand and against a loop."""

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import merge_positions

GROUPS = (0, 1, 1, 2, 2, 2)
VALUES = torch.tensor([1.0, 2, -4, 3, 5, 1])


@pytest.mark.parametrize(("how", "expected"), [("sum", [1.0, -2, 9]), ("mean", [1.0, -1, 3]), ("max", [1.0, 2, 5])])
def test_by_hand(how, expected):
    assert merge_positions(VALUES, GROUPS, how).tolist() == expected


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_any_axis_against_a_loop(how, dim):
    values = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups = {4: (2, 0, 1, 0), 5: (0, 0, 1, 2, 2), 6: GROUPS}[values.shape[dim]]
    of = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[how]
    pieces = [
        of(values.index_select(dim, torch.tensor([i for i, g in enumerate(groups) if g == word])), dim)
        for word in range(3)
    ]
    torch.testing.assert_close(merge_positions(values, groups, how, dim), torch.stack(pieces, dim))


def test_a_map_keeps_rows_that_sum_to_one():
    map_ = torch.rand(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    words = merge_positions(merge_positions(map_, GROUPS, "sum", dim=-1), GROUPS, "mean", dim=-2)
    torch.testing.assert_close(words.sum(-1), torch.ones(3, dtype=torch.float64))


def test_one_word_a_position_changes_nothing_and_nan_stays():
    assert torch.equal(merge_positions(VALUES, range(6), "mean"), VALUES)
    undefined = torch.tensor([1.0, torch.nan, 2.0])
    for how in ("sum", "mean", "max"):
        assert merge_positions(undefined, (0, 0, 1), how).isnan().tolist() == [True, False]


def test_half_precision_is_added_up_in_single():
    ones = torch.full((3000,), 1.0, dtype=torch.bfloat16)
    assert merge_positions(ones, [0] * 3000).tolist() == [3000.0]


@pytest.mark.parametrize(("groups", "said"), [((0, 1), "6 positions"), ((0, 0, 0, 2, 2, 2), "without a gap")])
def test_word_numbers_that_do_not_fit_are_refused(groups, said):
    with pytest.raises(BadInput, match=said):
        merge_positions(VALUES, groups)
