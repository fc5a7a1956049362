"""Head scores against patterns and matrices whose scores are known by hand."""

import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional.heads import (
    copying_eigenvalues,
    copying_score,
    in_context_score,
    most_copied,
    prefix_matching,
    previous_token,
    repeated_tokens,
)


def uniform(length):
    return torch.ones(length, length, dtype=torch.float64).tril() / torch.arange(1, length + 1)[:, None]


def induction(length, period, start, copies_back):
    """Looks at what followed the occurrence `copies_back` copies ago, as far as there is one, else at itself."""
    pattern = torch.zeros(length, length, dtype=torch.float64)
    for query in range(length):
        back = min(copies_back, (query - start) // period)
        pattern[query, query - back * period + 1 if back >= 1 else query] = 1
    return pattern


@pytest.mark.parametrize(("period", "repeats", "start"), [(5, 2, 1), (5, 4, 1), (3, 3, 0), (25, 4, 1), (4, 3, 2)])
def test_uniform_attention_scores_one_over_what_is_in_view(period, repeats, start):
    length = start + period * repeats
    queries = range(start + period, length)
    expected = sum(1 / (t + 1) for t in queries) / len(queries)
    assert prefix_matching(uniform(length), period, start=start).item() == pytest.approx(expected)
    together = sum(((t - start) // period) / (t + 1) for t in queries) / len(queries)
    assert prefix_matching(uniform(length), period, start=start, copies="all").item() == pytest.approx(together)


@pytest.mark.parametrize("start", [0, 1, 3])
def test_an_ideal_induction_head_scores_one(start):
    length, period = start + 24, 6
    assert prefix_matching(induction(length, period, start, 1), period, start=start).item() == 1
    far = induction(length, period, start, 2)
    assert prefix_matching(far, period, start=start).item() == pytest.approx(1 / 3)  # only the second copy has no other
    assert prefix_matching(far, period, start=start, copies="all").item() == 1
    assert previous_token(induction(length, period, start, 1)).item() == 0


def test_the_second_copy_may_be_unfinished():
    assert prefix_matching(induction(9, 6, 1, 1), 6).item() == 1
    with pytest.raises(BadInput, match="second copy"):
        prefix_matching(uniform(7), 6)


def test_looking_at_the_same_token_or_one_place_off_scores_nothing():
    length, period = 25, 6
    for shift in (period, period - 2):
        pattern = torch.diag(torch.ones(length - shift), -shift)
        assert prefix_matching(pattern, period).item() == 0


def test_previous_token():
    assert previous_token(torch.diag(torch.ones(7), -1)).item() == 1
    assert previous_token(torch.eye(8)).item() == 0
    assert previous_token(uniform(6)).item() == pytest.approx(sum(1 / (t + 1) for t in range(1, 6)) / 5)
    with pytest.raises(BadInput, match="one position"):
        previous_token(torch.ones(1, 1))


def test_heads_and_batch_stay_apart():
    both = torch.stack([induction(13, 4, 1, 1), uniform(13)])[None].expand(3, 2, 13, 13)
    scores = prefix_matching(both, 4)
    assert scores.shape == (3, 2)
    torch.testing.assert_close(scores[2], torch.stack([prefix_matching(one, 4) for one in both[0]]))


def orthonormal(n, width):
    square = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(square).Q[:n]


def test_copying_is_one_for_the_identity_and_minus_one_for_its_opposite():
    embed = orthonormal(12, 16)
    identity = torch.eye(16, dtype=torch.float64)
    for ov, expected in ((identity, 1.0), (-identity, -1.0)):
        promoted = embed @ ov @ embed.T
        assert copying_score(promoted).item() == pytest.approx(expected)
        assert copying_eigenvalues(promoted).item() == pytest.approx(expected)


def test_eigenvalues_of_nan_and_infinity_are_refused():
    for number in (torch.nan, torch.inf):
        promoted = torch.eye(64)
        promoted[3, 4] = number
        with pytest.raises(BadInput, match="1 of 64 rows of the matrices hold NaN or infinity"):
            copying_eigenvalues(promoted)


def test_copying_by_hand():
    # Rows centred: (2, 0, -2) raises its own token alone; (1, -2, 1) never; (-1, .5, .5) raises two alike.
    promoted = torch.tensor([[5.0, 3.0, 1.0], [1.0, -2.0, 1.0], [2.0, 3.5, 3.5]], dtype=torch.float64)
    assert copying_score(promoted).item() == pytest.approx(2 * (1 + 0 + 0.5) / 3 - 1)
    assert math.isnan(copying_score(torch.ones(3, 3)).item())
    with pytest.raises(BadInput, match="token <= vocab"):
        copying_score(torch.ones(4, 3))


def test_eigenvalues_by_hand():
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # a rotation: i and -i
    assert copying_eigenvalues(turn).item() == pytest.approx(0, abs=1e-6)
    assert copying_eigenvalues(torch.diag(torch.tensor([3.0, -1.0]))).item() == pytest.approx(0.5)


def test_eigenvalues_of_a_product_are_those_of_the_small_one():
    generator = torch.Generator().manual_seed(1)
    left = torch.randn(3, 20, 4, dtype=torch.float64, generator=generator)
    right = torch.randn(3, 4, 20, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(copying_eigenvalues(right @ left), copying_eigenvalues(left @ right))


def test_most_copied_counts_tokens_that_are_raised_most():
    promoted = torch.tensor([[5.0, 3.0, 1.0], [1.0, -2.0, 1.0], [2.0, 3.5, 3.5]])
    assert most_copied(promoted).item() == pytest.approx(2 / 3)  # the last ties for the highest
    assert most_copied(torch.stack([torch.eye(4), -torch.eye(4)])).tolist() == [1, 0]
    with pytest.raises(BadInput, match="token <= vocab"):
        most_copied(torch.ones(4, 3))


def test_the_context_is_worth_the_difference_in_loss():
    losses = torch.tensor([[4.0, 4.0, 3.0, 1.0, 1.0, 2.0], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]])
    assert in_context_score(losses, (0, 2), (3, 5)).tolist() == [-3, 0]
    assert in_context_score(losses[0], (1, 2), (5, 6)).item() == -2
    unknown = losses.clone()
    unknown[0, 0] = math.nan
    assert math.isnan(in_context_score(unknown, (0, 2), (3, 5))[0].item())
    for early, late in (((0, 0), (3, 5)), ((0, 2), (3, 7)), ((-1, 2), (3, 5))):
        with pytest.raises(BadInput, match="range of positions within the 6"):
            in_context_score(losses, early, late)


def test_repeated_tokens_have_no_duplicates_inside_a_block():
    ids = repeated_tokens(10, 3, batch=50, vocab=torch.arange(100, 115), seed=3, bos=7)
    assert ids.shape == (50, 31)
    assert (ids[:, 0] == 7).all()
    for row in ids[:, 1:]:
        block = row[:10].tolist()
        assert len(set(block)) == 10
        assert row.tolist() == block * 3
        assert set(block) <= set(range(100, 115))
    torch.testing.assert_close(ids, repeated_tokens(10, 3, batch=50, vocab=torch.arange(100, 115), seed=3, bos=7))
    assert not torch.equal(ids, repeated_tokens(10, 3, batch=50, vocab=torch.arange(100, 115), seed=4, bos=7))
    assert repeated_tokens(4, 2, batch=1, vocab=torch.arange(9), seed=0).shape == (1, 8)
    with pytest.raises(BadInput, match="different tokens"):
        repeated_tokens(10, 2, batch=1, vocab=torch.arange(9), seed=0)
