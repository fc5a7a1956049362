"""Which tokens go, and what the curves add up to: by hand, against sklearn, and on a model whose answer is known."""

import math

import pytest
import sklearn.metrics
import torch

from workbench.errors import BadInput, UnknownName
from workbench.functional import aopc, perturbation_auc, random_scores, removal_masks, removal_order

SCORES = torch.tensor([0.5, 0.9, 0.5, -1.0])
NAN = math.nan


def text(masks):
    return ["".join("x" if gone else "." for gone in row) for row in masks.tolist()]


def test_order_is_by_score_then_by_place():
    assert removal_order(SCORES).tolist() == [1, 0, 2, 3]
    assert removal_order(torch.zeros(5)).tolist() == [0, 1, 2, 3, 4]
    both = torch.stack([SCORES, -SCORES])
    assert removal_order(both).tolist() == [[1, 0, 2, 3], [3, 0, 2, 1]]


def test_tokens_without_a_score_go_last_and_those_that_may_not_go_after_them():
    scores = torch.tensor([NAN, -math.inf, 2.0, 7.0, math.inf])
    assert removal_order(scores).tolist() == [4, 3, 2, 1, 0]
    candidates = torch.tensor([True, True, True, False, True])
    assert removal_order(scores, candidates).tolist() == [4, 2, 1, 0, 3]


def test_masks_by_hand():
    fractions = (0.0, 0.25, 0.5, 1.0)
    assert text(removal_masks(SCORES, fractions)) == ["....", ".x..", "xx..", "xxxx"]
    assert text(removal_masks(SCORES, fractions, remove="last")) == ["....", "...x", "..xx", "xxxx"]
    assert text(removal_masks(SCORES, fractions, remove="rest")) == ["xxxx", "x.xx", "..xx", "...."]


@pytest.mark.parametrize("n", range(1, 12))
def test_a_share_is_rounded_with_halves_upwards(n):
    masks = removal_masks(torch.arange(float(n)), [tenth / 10 for tenth in range(11)])
    assert masks.sum(-1).tolist() == [(tenth * n + 5) // 10 for tenth in range(11)]


def test_what_may_not_go_stays_and_is_not_counted():
    candidates = torch.tensor([[True, False, True, True], [False, False, True, True]])
    scores = SCORES.expand(2, 4)
    first = removal_masks(scores, (0.5, 1.0), candidates=candidates)
    assert [text(row) for row in first] == [["x.x.", "x.xx"], ["..x.", "..xx"]]
    last = removal_masks(scores, (0.5,), candidates=candidates, remove="last")
    assert [text(row) for row in last] == [["..xx"], ["...x"]]
    rest = removal_masks(scores, (0.5, 0.25), candidates=candidates, remove="rest")
    assert [text(row) for row in rest] == [["...x", "..xx"], ["...x", "...x"]]


def test_keeping_the_first_is_removing_the_last_of_the_same_order():
    scores = torch.randint(3, (20, 10), generator=torch.Generator().manual_seed(0)).float()  # many ties
    tenths = [step / 10 for step in range(11)]
    kept = removal_masks(scores, tenths, remove="rest")
    assert torch.equal(kept, removal_masks(scores, tenths[::-1], remove="last"))
    assert torch.equal(kept, ~removal_masks(scores, tenths))


def test_curves_of_a_model_that_adds_up_its_tokens():
    """p(input) is the sum of the kept weights: the best order has every curve in closed form."""
    weights = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
    quarters = (0.25, 0.5, 0.75, 1.0)

    def model(removed):
        return (weights * ~removed).sum(-1)

    full = model(torch.zeros(4, dtype=torch.bool))
    removed, kept = model(removal_masks(weights, quarters)), model(removal_masks(weights, quarters, remove="rest"))
    assert aopc(full, removed).item() == pytest.approx((0.4 + 0.7 + 0.9 + 1.0) / 4)
    assert aopc(full, kept).item() == pytest.approx((0.6 + 0.3 + 0.1 + 0.0) / 4)
    steps = (0.0, *quarters)
    positive = perturbation_auc(model(removal_masks(weights, steps)), steps)
    negative = perturbation_auc(model(removal_masks(weights, steps, remove="last")), steps)
    assert positive.item() == pytest.approx((1.0 / 2 + 0.6 + 0.3 + 0.1 + 0.0 / 2) / 4)
    assert negative.item() == pytest.approx((1.0 / 2 + 0.9 + 0.7 + 0.4 + 0.0 / 2) / 4)
    worst = perturbation_auc(model(removal_masks(-weights, steps)), steps)
    assert worst == negative
    drawn = torch.stack([random_scores(weights, seed) for seed in range(300)])
    chance = perturbation_auc(model(removal_masks(drawn, steps)), steps)
    assert chance.mean().item() == pytest.approx(0.5, abs=0.02)
    assert (positive <= chance).all()
    assert (chance <= negative).all()


def test_area_agrees_with_sklearn_on_uneven_steps_and_does_not_depend_on_the_range():
    fractions = (0.0, 0.25, 0.5, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
    outputs = torch.rand(3, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = perturbation_auc(outputs, fractions)
    for row, area in zip(outputs, found, strict=True):
        assert area.item() == pytest.approx(sklearn.metrics.auc(fractions, row.numpy()))
    flat = torch.full((2,), 0.3, dtype=torch.float64)
    assert perturbation_auc(flat, (0.1, 0.9)).item() == pytest.approx(0.3)  # a level curve has its own height


def test_random_scores_are_repeatable_and_fit():
    like = torch.empty(3, 8, dtype=torch.bfloat16)
    assert random_scores(like).dtype == torch.bfloat16
    assert torch.equal(random_scores(like, 4), random_scores(like, 4))
    assert not torch.equal(random_scores(like, 4), random_scores(like, 5))


def test_a_way_to_remove_that_is_not_there_is_named_with_those_that_are(as_installed):
    with pytest.raises(UnknownName, match="remove tokens called 'frist'. Did you mean 'first'.*first, last, rest"):
        removal_masks(SCORES, remove="frist")


def test_whole_numbers_are_scores():
    scores = torch.tensor([5, 9, 5, -1])
    assert text(removal_masks(scores, (0.25, 0.5))) == [".x..", "xx.."]


def test_unusable_fractions_are_sentences():
    with pytest.raises(BadInput, match="from 0 to 1"):
        removal_masks(SCORES, (0.5, 50.0))
    for fractions in ((0.5,), (0.5, 0.1), (0.1, 0.1), (0.1, 0.2, 0.3)):
        with pytest.raises(BadInput, match="growing fractions"):
            perturbation_auc(torch.zeros(len(fractions) if len(fractions) < 3 else 2), fractions)
