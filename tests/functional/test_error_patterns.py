"""How answers go wrong: by hand and by a loop; what no error says is NaN and counted."""

import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import error_pattern


def test_a_few_by_hand():
    right = torch.tensor([100, 100, 100, 100, 100, 100])
    found = error_pattern(torch.tensor([100, 110, 50, 300, 103, 94]), right)
    assert found.accuracy == pytest.approx(1 / 6)
    assert (found.examples, found.errors) == (6, 5)
    assert found.multiples.tolist() == pytest.approx([3 / 5, 2 / 5, 1 / 5])
    assert found.near == pytest.approx(1 / 5), "6 is not less than 6"
    assert found.mean_size == pytest.approx((10 + 50 + 200 + 3 + 6) / 5)


def test_batches_against_a_loop():
    draws = torch.Generator().manual_seed(0)
    right = torch.randint(0, 500, (3, 40), generator=draws)
    predicted = right + torch.randint(-30, 31, (3, 40), generator=draws) * (torch.rand(3, 40, generator=draws) < 0.7)
    found = error_pattern(predicted, right, steps=(7, 2.5), near=4)
    for row in range(3):
        wrong = [p - r for p, r in zip(predicted[row].tolist(), right[row].tolist(), strict=True) if p != r]
        assert found.errors[row] == len(wrong)
        assert found.accuracy[row] == pytest.approx(1 - len(wrong) / 40)
        for step, share in zip((7, 2.5), found.multiples[row].tolist(), strict=True):
            assert share == pytest.approx(sum(abs(e) % step == 0 for e in wrong) / len(wrong))
        assert found.near[row] == pytest.approx(sum(abs(e) < 4 for e in wrong) / len(wrong))
        assert found.mean_size[row] == pytest.approx(sum(map(abs, wrong)) / len(wrong))


def test_values_with_a_fraction():
    found = error_pattern(torch.tensor([0.3, 0.1]), torch.tensor([0.1, 0.1]), steps=(0.1, 0.25))
    assert found.multiples.tolist() == [1, 0]


def test_without_errors_nothing_is_said_of_them():
    found = error_pattern(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), torch.tensor([1.0, 2.0]))
    assert found.errors.tolist() == [0, 1]
    assert found.accuracy.tolist() == [1, 0.5]
    assert all(math.isnan(x) for x in (*found.multiples[0], found.near[0], found.mean_size[0]))
    assert not found.multiples[1].isnan().any()
    none = error_pattern(torch.zeros(0), torch.zeros(0))
    assert none.examples == 0
    assert none.accuracy.isnan()
    assert error_pattern(torch.ones(2), torch.zeros(2), steps=()).multiples.shape == (0,)


def test_what_cannot_be_counted_is_a_sentence(as_installed):
    for wrong, says in (
        (lambda: error_pattern(torch.zeros(3), torch.zeros(2)), "right ones"),
        (lambda: error_pattern(torch.zeros(3), torch.zeros(3), steps=(10, 0)), "above 0"),
        (lambda: error_pattern(torch.tensor([math.nan, 1]), torch.zeros(2)), "1 answers are no finite"),
    ):
        with pytest.raises(BadInput, match=says):
            wrong()
