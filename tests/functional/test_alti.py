"""ALTI against the tensor of all contributions, and against cases whose shares are known."""

import pytest
import torch

from workbench.functional import FrozenNorm, alti, alti_map, cross_alti_map

D, D_HEAD = 12, 4
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def make(n_heads=4, n_kv_heads=2, *, size=6, keys=None, batch=(2,), causal=True, seed=0):
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    keys = keys or size
    scores = 2 * normal(*batch, n_heads, size, keys)
    if causal:
        scores = scores.masked_fill(torch.ones(size, keys).triu(1).bool(), -torch.inf)
    values, own = normal(*batch, keys, n_kv_heads, D_HEAD), normal(*batch, size, D)
    return scores.softmax(-1), values, normal(n_heads, D_HEAD, D), own


def contributions(pattern, values, w_o):
    values = values.repeat_interleave(w_o.shape[0] // values.shape[-2], -2)
    return torch.einsum("...hqk,...khd,hdm->...qkm", pattern, values, w_o)


def shares(parts):
    """c_ij row by row, as the paper writes it; parts are (query, source, d_model)."""
    total = parts.sum(-2)
    kept = (total.abs().sum(-1)[..., None] - (total[..., None, :] - parts).abs().sum(-1)).clamp(min=0)
    return torch.nan_to_num(kept / kept.sum(-1, keepdim=True))  # 0 / 0 where no source is near the sum


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("block_bytes", [1, 2 * 6 * D * 8 * 2, 2**22])
def test_against_the_whole_tensor(causal, block_bytes, batch, monkeypatch):
    monkeypatch.setattr(alti, "BLOCK_BYTES", block_bytes)
    pattern, values, w_o, own = make(causal=causal, batch=batch)
    parts = contributions(pattern, values, w_o) + torch.eye(6)[..., None] * own[..., None, :]
    torch.testing.assert_close(alti_map(pattern, values, w_o, own), shares(parts), **EXACT)


def test_through_the_norm_of_a_post_norm_block():
    """The norm's own code on each contribution, at the scale of the sum: centring and weight matter, scale does not."""
    pattern, values, w_o, own = make(causal=False)
    parts = contributions(pattern, values, w_o) + torch.eye(6)[..., None] * own[..., None, :]
    total = parts.sum(-2)
    scale = (total.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    weight = torch.linspace(-1, 3, D, dtype=torch.float64)
    norm = FrozenNorm(scale=scale, centred=True, weight=weight)
    normed = (parts - parts.mean(-1, keepdim=True)) / scale[..., None, :] * weight
    torch.testing.assert_close(alti_map(pattern, values, w_o, own, [norm]), shares(normed), **EXACT)


def test_cross_attention_counts_the_query_as_one_more_source():
    pattern, values, w_o, own = make(keys=9, causal=False)
    sources, kept = cross_alti_map(pattern, values, w_o, own)
    parts = torch.cat([contributions(pattern, values, w_o), own[..., None, :]], -2)
    torch.testing.assert_close(torch.cat([sources, kept[..., None]], -1), shares(parts), **EXACT)


def test_contributions_along_one_line_get_their_coefficients():
    direction = torch.linspace(1, 2, D, dtype=torch.float64)
    w_o = torch.zeros(1, D_HEAD, D, dtype=torch.float64)
    w_o[0, 0] = direction
    values = torch.zeros(5, 1, D_HEAD, dtype=torch.float64)
    values[:, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    pattern = torch.rand(1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    own = torch.tensor([1.0, 0.5, 0.25, 2.0, 3.0], dtype=torch.float64)[:, None] * direction
    coefficients = pattern[0] * values[:, 0, 0] + torch.diag(own[:, 0] / direction[0])
    expected = coefficients / coefficients.sum(-1, keepdim=True)
    torch.testing.assert_close(alti_map(pattern, values, w_o, own), expected, **EXACT)


def test_a_source_that_points_away_counts_nothing():
    w_o = torch.ones(1, 1, D, dtype=torch.float64)
    values = torch.tensor([3.0, -1.0], dtype=torch.float64)[:, None, None]
    pattern = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    found = alti_map(pattern, values, w_o, torch.zeros(2, D, dtype=torch.float64))
    assert found.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_one_token_and_its_own_look():
    pattern, values, w_o, own = make(size=1)
    assert alti_map(pattern, values, w_o, own).tolist() == [[[1.0]], [[1.0]]]
    pattern = torch.eye(6, dtype=torch.float64).expand(2, 4, 6, 6)
    _, values, w_o, own = make()
    torch.testing.assert_close(alti_map(pattern, values, w_o, own), torch.eye(6, dtype=torch.float64).expand(2, 6, 6))


def test_a_row_of_nothing_stays_zero():
    pattern, values, w_o, own = make()
    assert not alti_map(pattern, 0 * values, w_o, 0 * own).any()


def test_a_later_position_gets_exactly_nothing():
    assert not alti_map(*make(size=40)).triu(1).any()


def test_a_pattern_that_never_looks_at_itself():
    pattern, values, w_o, own = make()
    pattern = pattern.tril(-2)
    parts = contributions(pattern, values, w_o) + torch.eye(6)[..., None] * own[..., None, :]
    torch.testing.assert_close(alti_map(pattern, values, w_o, own), shares(parts), **EXACT)


def test_half_precision_is_computed_in_single():
    inputs = tuple(x.to(torch.bfloat16) for x in make())
    found = alti_map(*inputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), alti_map(*(x.double() for x in inputs)), rtol=1e-4, atol=1e-5)
