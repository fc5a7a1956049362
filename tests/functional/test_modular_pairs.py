"""Orders in which every operation is an addition, against the operation itself; and which pairs are trained on."""

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import sum_axes, train_pairs

OPERATIONS = {"add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b}


@pytest.mark.parametrize(
    ("operation", "n", "start", "modulus"),
    [
        ("add", 7, 0, 7),
        ("add", 12, 1, 12),
        ("add", 5, -3, 5),
        ("subtract", 8, 0, 8),
        ("subtract", 12, 1, 12),
        ("multiply", 7, 0, 7),
        ("multiply", 2, 0, 2),
        ("multiply", 22, 1, 23),
    ],
)
def test_the_answer_of_the_ith_and_jth_is_the_i_plus_jth(operation, n, start, modulus):
    axes = sum_axes(n, operation, start)
    values = [start + i for i in range(n)]
    if not axes.left_out:
        assert sorted(axes.first.tolist()) == sorted(axes.answers.tolist()) == list(range(n))
    for i, a in enumerate(axes.first.tolist()):
        for j, b in enumerate(axes.second.tolist()):
            c = axes.answers[(i + j) % len(axes)]
            assert (OPERATIONS[operation](values[a], values[b]) - values[c]) % modulus == 0
    left = {values[at] for at in axes.left_out}
    assert left == ({0} if operation == "multiply" and start == 0 else set())
    assert len(axes) == n - len(left)


def test_tables_are_put_in_this_order():
    table = torch.arange(5)[:, None, None] * 100 + torch.arange(5)[:, None] * 10 + torch.arange(5)
    axes = sum_axes(5, "multiply")
    found = axes.logits(table)
    for i in range(4):
        for j in range(4):
            assert torch.equal(axes.pairs(table)[i, j], table[axes.first[i], axes.second[j]])
            for c in range(4):
                assert found[i, j, c] == 100 * axes.first[i] + 10 * axes.second[j] + axes.answers[c]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ((9, "multiply"), "prime"),
        ((7, "multiply", 1), "prime"),
        ((7, "multiply", 2), "prime"),
        ((1,), "two values"),
    ],
)
def test_what_has_no_such_order_is_a_sentence(asked, says):
    with pytest.raises(BadInput, match=says):
        sum_axes(*asked)


def test_pairs_that_are_trained_on_are_a_share_drawn_by_the_seed():
    mask = train_pairs(59, 0.4, seed=3)
    assert mask.sum() == round(0.4 * 59 * 59)
    assert torch.equal(mask, train_pairs(59, 0.4, seed=3))
    overlap = (mask & train_pairs(59, 0.4, seed=4)).double().mean().item()
    assert abs(overlap - 0.16) < 0.03  # drawn independently
    assert (mask.double().mean(0) - 0.4).abs().max() < 0.3  # from all operands
    assert train_pairs(4, 1.0).all()
    assert not train_pairs(4, 0.0).any()
    with pytest.raises(BadInput, match="0 to 1"):
        train_pairs(4, 1.1)
