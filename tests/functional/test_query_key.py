"""Terms of a score by dimension add up to the score."""

import torch

from workbench.functional import query_key_terms, repeat_kv


def test_terms_add_up_to_the_score():
    random = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 3, 5, 16, generator=random, dtype=torch.float64)
    terms = query_key_terms(q, k)
    for i in range(3):
        for j in range(5):
            torch.testing.assert_close(terms[i, j].sum(), q[i, j].dot(k[i, j]) / 4)
            assert terms[i, j, 7].item() == q[i, j, 7].item() * k[i, j, 7].item() / 4
    torch.testing.assert_close(query_key_terms(q, k, scale=1.0), q * k)


def test_query_heads_share_kv_heads_in_order():
    assert repeat_kv(torch.arange(3), 6, dim=0).tolist() == [0, 0, 1, 1, 2, 2]
