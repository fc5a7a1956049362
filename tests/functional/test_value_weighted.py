"""Value-weighted patterns against the full [query, key, d_model] tensor, with and without grouped queries."""

import pytest
import torch

from workbench.functional import source_norms, value_weighted_pattern


def make(n_heads, n_kv_heads, *, size=5, d_head=4, d_model=12, seed=0):
    random = torch.Generator().manual_seed(seed)
    pattern = torch.rand(2, n_heads, size, size, generator=random, dtype=torch.float64).softmax(-1)
    values = torch.randn(2, size, n_kv_heads, d_head, generator=random, dtype=torch.float64)
    return pattern, values, torch.randn(n_heads, d_head, d_model, generator=random, dtype=torch.float64)


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_agrees_with_the_tensor_it_never_makes(n_heads, n_kv_heads):
    pattern, values, w_o = make(n_heads, n_kv_heads)
    weighted = value_weighted_pattern(pattern, source_norms(values, w_o))
    for head in range(n_heads):
        vectors = values[:, :, head // (n_heads // n_kv_heads)] @ w_o[head]  # (batch, key, d_model)
        contributions = pattern[:, head, :, :, None] * vectors[:, None]  # (batch, query, key, d_model)
        torch.testing.assert_close(weighted[:, head], contributions.norm(dim=-1), rtol=1e-12, atol=1e-12)


def test_values_of_length_one_give_the_pattern_back():
    pattern, values, _ = make(2, 2, d_head=4)
    values = values / values.norm(dim=-1, keepdim=True)
    w_o = torch.eye(4, 12, dtype=torch.float64).repeat(2, 1, 1)  # keeps every length
    torch.testing.assert_close(value_weighted_pattern(pattern, source_norms(values, w_o)), pattern)


def test_is_at_least_the_length_of_the_heads_output():
    """Triangle inequality: pieces of the sum are together at least as long as the sum."""
    pattern, values, w_o = make(4, 4)
    output = torch.einsum("bhqk,bkhd,hdm->bhqm", pattern, values, w_o)
    weighted = value_weighted_pattern(pattern, source_norms(values, w_o))
    assert (weighted.sum(-1) >= output.norm(dim=-1) - 1e-12).all()
