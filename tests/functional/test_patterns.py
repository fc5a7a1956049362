"""Scores of heads: a plain re-implementation, exact answers on patterns made for them, padding, what is undefined."""

import math

import pytest
import torch

from workbench.functional import AttentionScores, attention_scores

NAMES = ("entropy", "distance", "first", "previous", "self")


def causal(n_heads=3, size=7, *, seed=0, dtype=torch.float64):
    scores = torch.randn(n_heads, size, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return scores.masked_fill(torch.ones(size, size).triu(1).bool(), -torch.inf).softmax(-1)


def as_dict(scores: AttentionScores):
    return dict(zip(scores.names, scores.values.unbind(-1), strict=True))


def slowly(pattern, rows):
    """One head's five scores, cell by cell."""
    entropy = distance = first = previous = own = 0.0
    with_previous = 0
    for q in rows:
        for k, a in enumerate(pattern[q].tolist()):
            entropy -= a * math.log(a) if a else 0.0
            distance += a * abs(q - k)
        first += pattern[q, 0].item()
        own += pattern[q, q].item()
        if q > 0:
            previous += pattern[q, q - 1].item()
            with_previous += 1
    n = len(rows)
    return [entropy / n, distance / n, first / n, previous / with_previous, own / n]


@pytest.mark.parametrize("skip_first", [False, True])
def test_agrees_with_a_loop_over_cells(skip_first):
    pattern = causal()
    scores = attention_scores(pattern, skip_first=skip_first)
    expected = torch.tensor([slowly(head, range(1 if skip_first else 0, 7)) for head in pattern], dtype=torch.float64)
    torch.testing.assert_close(scores.values, expected, rtol=1e-12, atol=1e-12)
    assert scores.names == NAMES
    assert scores.counts.tolist() == [[6, 6, 6, 6, 6] if skip_first else [7, 7, 7, 6, 7]] * 3


def test_even_attention_has_the_logarithm_of_the_length_as_entropy():
    scores = as_dict(attention_scores(torch.full((1, 8, 8), 1 / 8, dtype=torch.float64)))
    assert scores["entropy"].item() == pytest.approx(math.log(8), abs=1e-12)
    assert scores["distance"].item() == pytest.approx((8**2 - 1) / (3 * 8), abs=1e-12)  # mean |i - j| on a square grid
    for name in ("first", "previous", "self"):
        assert scores[name].item() == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    ("shift", "expected"), [(0, [0, 0, 1 / 6, 0, 1]), (1, [0, 5 / 6, 2 / 6, 1, 1 / 6])], ids=["self", "previous"]
)
def test_a_head_on_one_token(shift, expected):
    pattern = torch.zeros(1, 6, 6)
    for q in range(6):
        pattern[0, q, max(q - shift, 0)] = 1.0
    torch.testing.assert_close(attention_scores(pattern).values[0], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    pattern = causal(size=5)
    padded = torch.full((3, 8, 8), 1 / 8, dtype=torch.float64)  # what padded queries do must not matter
    real = slice(3, 8) if side == "left" else slice(0, 5)
    padded[:, real] = 0.0
    padded[:, real, real] = pattern
    mask = torch.zeros(8, dtype=torch.bool)
    mask[real] = True
    for skip_first in (False, True):
        alone = attention_scores(pattern, skip_first=skip_first)
        within = attention_scores(padded, query_mask=mask, skip_first=skip_first)
        torch.testing.assert_close(within.values, alone.values, rtol=1e-12, atol=1e-12)
        assert within.counts.tolist() == alone.counts.tolist()


def test_batches_with_different_lengths():
    short, long = causal(size=4, seed=1), causal(size=6, seed=2)
    batch = torch.full((2, 3, 6, 6), 1 / 6, dtype=torch.float64)
    batch[0, :, :4] = 0.0
    batch[0, :, :4, :4], batch[1] = short, long
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    both = attention_scores(batch, query_mask=mask)
    for row, alone in enumerate((short, long)):
        torch.testing.assert_close(both.values[row], attention_scores(alone).values)


def test_what_is_undefined_is_nan_with_a_count_of_zero():
    one = attention_scores(torch.ones(1, 1, 1))
    assert one.counts.tolist() == [[1, 1, 1, 0, 1]]
    assert one.values.isnan().tolist() == [[False, False, False, True, False]]
    none = attention_scores(torch.ones(1, 1, 1), skip_first=True)
    assert none.values.isnan().all()
    assert none.counts.eq(0).all()


def test_cross_attention_has_only_entropy_and_first():
    pattern = torch.rand(2, 3, 9, dtype=torch.float64).softmax(-1)
    scores = attention_scores(pattern, same_sequence=False)
    assert scores.values.isnan()[0].tolist() == [False, True, False, True, True]
    assert scores.counts[0].tolist() == [3, 0, 3, 0, 0]
    torch.testing.assert_close(scores.values[:, 2], pattern[..., 0].mean(-1))


def test_exact_zeros_have_no_entropy_and_half_precision_stays_finite():
    assert as_dict(attention_scores(torch.eye(4)[None]))["entropy"].item() == 0.0
    half = causal(dtype=torch.float32).half()
    assert attention_scores(half).values.dtype == torch.float16
    assert attention_scores(half).values.isfinite().all()
