"""Divergence and rank: against torch's own, by hand, and at the edges."""

import math

import pytest
import torch

from workbench.functional import kl_divergence, token_ranks


def test_kl_agrees_with_torch_and_is_zero_for_equal_logits():
    a, b = torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=a), torch.distributions.Categorical(logits=b)
    )
    torch.testing.assert_close(kl_divergence(a, b), expected)
    assert kl_divergence(a, a).eq(0).all()
    assert kl_divergence(a, a + 3).abs().max() < 1e-12  # logits are defined up to a constant


def test_kl_by_hand_from_before_to_after():
    before, after = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log()
    assert kl_divergence(before, after).item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    assert kl_divergence(after, before).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_kl_with_impossible_tokens():
    never = torch.tensor([[0.0, 0.0, -torch.inf]])
    assert kl_divergence(never, torch.zeros(1, 3)).item() == pytest.approx(math.log(1.5))
    assert kl_divergence(torch.zeros(1, 3), never).item() == math.inf


def test_ranks_count_from_zero_and_ties_share_the_better_one():
    logits = torch.tensor([[3.0, 1.0, 2.0, 2.0]])
    assert [token_ranks(logits, torch.tensor([i])).item() for i in range(4)] == [0, 3, 1, 1]
