"""Attention turned down: closed forms, and a loop over single numbers."""

import pytest
import torch

from workbench import functional

HIDDEN = torch.finfo(torch.float64).min


def random_scores(*shape, causal=True):
    scores = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return scores.masked_fill(~torch.ones(shape[-2:]).tril().bool(), HIDDEN) if causal else scores


@pytest.mark.parametrize("hidden", [HIDDEN, -torch.inf])
def test_is_a_loop_over_single_numbers(hidden):
    scores, factors = random_scores(3, 5, 5), torch.tensor([0.1, 1, 0, 2.5, 0.7], dtype=torch.float64)
    scores = scores.masked_fill(scores == HIDDEN, hidden)
    found = functional.suppressed_scores(scores, factors)
    for h in range(3):
        for q in range(5):
            low = min(scores[h, q, : q + 1].tolist())
            for k in range(5):
                s = scores[h, q, k].item()
                expected = s if k > q else low + factors[k].item() * (s - low)
                assert found[h, q, k].item() == pytest.approx(expected, abs=1e-12)


def test_a_factor_of_one_and_rows_of_equal_scores_change_nothing():
    scores = random_scores(2, 6, 6)
    assert torch.equal(functional.suppressed_scores(scores, torch.ones(6)), scores)
    equal = torch.full((6, 6), 3.25)
    assert torch.equal(functional.suppressed_scores(equal, torch.full((6,), 0.3)), equal)


def test_a_factor_of_zero_puts_a_key_level_with_the_lowest():
    scores = random_scores(6, 6, causal=False)
    found = functional.suppressed_scores(scores, torch.tensor([1.0, 1, 0, 1, 1, 1]))
    torch.testing.assert_close(found[:, 2], scores.amin(-1))
    assert found.softmax(-1)[:, 2].min() > 0


def test_what_is_hidden_is_not_looked_at():
    """The same row with other numbers of hidden keys, and a row that sees nothing."""
    scores = random_scores(4, 4)
    wide = torch.nn.functional.pad(scores, (0, 3, 0, 1), value=HIDDEN)
    factors = torch.full((7,), 0.2, dtype=torch.float64)
    found = functional.suppressed_scores(wide, factors)
    torch.testing.assert_close(found[:4, :4], functional.suppressed_scores(scores, factors[:4]), rtol=0, atol=0)
    assert (found[:, 4:] == HIDDEN).all() and (found[4] == HIDDEN).all()


def test_each_batch_has_factors_of_its_own():
    scores, factors = random_scores(2, 3, 4, 4), torch.rand(2, 1, 1, 4, dtype=torch.float64)
    found = functional.suppressed_scores(scores, factors)
    for b in range(2):
        torch.testing.assert_close(found[b], functional.suppressed_scores(scores[b], factors[b, 0, 0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_keeps_the_dtype(dtype):
    scores = random_scores(4, 4, causal=False).to(dtype)
    scores = scores.masked_fill(~torch.ones(4, 4).tril().bool(), torch.finfo(dtype).min)
    found = functional.suppressed_scores(scores, torch.full((4,), 0.1))
    assert found.dtype == dtype and found.isfinite().all()


def test_neighbours_are_suppressed_by_how_near_they_are():
    embeddings = torch.tensor([[1.0, 0], [3, 0], [1, 1], [0, 2], [-1, 0]])
    found = functional.neighbour_factors(embeddings, 0.1, 0.6)
    half = 0.5**0.5
    near = 0.9 * (1 - half) + 0.1
    expected = [
        [0.1, 0.1, near, 1, 1],
        [0.1, 0.1, near, 1, 1],
        [near, near, 0.1, near, 1],
        [1, 1, near, 0.1, 1],
        [1, 1, 1, 1, 0.1],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))
    torch.testing.assert_close(
        functional.neighbour_factors(torch.zeros(2, 3), 0.3, 0.5).diagonal(), torch.full((2,), 0.3)
    )
