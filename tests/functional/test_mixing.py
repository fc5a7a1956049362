"""The ladder of mixing maps against the (query, key, d_model) tensor it never makes, and against closed forms."""

import pytest
import torch

from workbench.errors import UnknownName
from workbench.functional import (
    MIXING_MAPS,
    FrozenNorm,
    contribution_norms,
    contributions,
    cross_mixing_maps,
    mixing_maps,
    mixing_ratio,
    norm_scale,
    row_normalized,
)

D, D_HEAD = 12, 4
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def make(n_heads=4, n_kv_heads=4, *, size=6, keys=None, batch=(2,), causal=True, seed=0, dtype=torch.float64):
    """One attention block in random numbers."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*batch, *shape, generator=random, dtype=torch.float64).to(dtype)

    keys = keys or size
    scores = 2 * normal(n_heads, size, keys)
    if causal:
        scores = scores.masked_fill(torch.ones(size, keys).triu(1).bool(), -torch.inf)
    w_o = torch.randn(n_heads, D_HEAD, D, generator=random, dtype=torch.float64).to(dtype)
    return scores.softmax(-1), normal(keys, n_kv_heads, D_HEAD), w_o, normal(size, D)


def vectors(pattern, values, w_o, own=None):
    """z_ij (and own on the diagonal), written out in loops: the slow re-implementation."""
    *batch, n_heads, size, keys = pattern.shape
    z = torch.zeros(*batch, size, keys, w_o.shape[-1], dtype=w_o.dtype)
    for head in range(n_heads):
        group = head * values.shape[-2] // n_heads
        for j in range(keys):
            f = values[..., j, group, :] @ w_o[head]
            z[..., :, j, :] += pattern[..., head, :, j, None] * f[..., None, :]
    for i in range(size if own is not None else 0):
        z[..., i, i, :] += own[..., i, :]
    return z


def a_norm(stream, *, centred=True, seed=3):
    weight = 1 + 0.5 * torch.randn(D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return FrozenNorm(scale=norm_scale(stream, centred=centred, eps=1e-5), centred=centred, weight=weight)


def normed(z, norm):
    """A frozen norm of vectors (query, key, d_model), in the paper's words: (z - mean(z)) / s * gamma."""
    z = z - z.mean(-1, keepdim=True) if norm.centred else z
    return z / norm.scale[..., None, :] * norm.weight


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(4, 4), (6, 2), (3, 1), (1, 1)])
def test_every_rung_against_the_whole_tensor(n_heads, n_kv_heads, causal):
    pattern, values, w_o, own = make(n_heads, n_kv_heads, causal=causal)
    first, second = a_norm(own), a_norm(own**3, centred=False, seed=4)
    maps = mixing_maps(pattern, values, w_o, own, after_attention=[first], after_block=[first, second])
    plain, whole = vectors(pattern, values, w_o), vectors(pattern, values, w_o, own)
    eye = torch.eye(pattern.shape[-1], dtype=torch.float64)
    weights, lengths = pattern.mean(-3), plain.norm(dim=-1)
    outside = (whole * (1 - eye)[..., None]).sum(-2).norm(dim=-1)
    inside = torch.stack([whole[:, i, i] for i in range(len(eye))], 1).norm(dim=-1)
    ratio = outside / (outside + inside)
    others = weights * (1 - eye)
    others = torch.nan_to_num(others / others.sum(-1, keepdim=True))  # a first causal position has no others
    expected = {
        "W": weights,
        "W_FIXEDRES": (weights + eye) / 2,
        "W_RES": ratio[..., None] * others + (1 - ratio[..., None]) * eye,
        "N": lengths,
        "N_FIXEDRES": (lengths / lengths.sum(-1, keepdim=True) + eye) / 2,
        "N_RES": whole.norm(dim=-1),
        "N_RESLN": normed(whole, first).norm(dim=-1),
        "N_ENC": normed(normed(whole, first), second).norm(dim=-1),
    }
    assert tuple(maps) == MIXING_MAPS == tuple(expected)
    for name, map_ in maps.items():
        torch.testing.assert_close(map_, expected[name], **EXACT)
    torch.testing.assert_close(mixing_ratio(pattern, values, w_o, own), ratio, **EXACT)
    with_norm = normed(whole, first)
    outside = (with_norm * (1 - eye)[..., None]).sum(-2).norm(dim=-1)
    inside = torch.stack([with_norm[:, i, i] for i in range(len(eye))], 1).norm(dim=-1)
    torch.testing.assert_close(mixing_ratio(pattern, values, w_o, own, [first]), outside / (outside + inside), **EXACT)


@pytest.mark.parametrize("keys", [3, 9])
def test_cross_attention_keeps_the_query_apart(keys):
    pattern, values, w_o, own = make(4, 2, keys=keys, causal=False)
    first = a_norm(own)
    maps = cross_mixing_maps(pattern, values, w_o, own, after_attention=[first], after_block=[first, first])
    plain, weights = vectors(pattern, values, w_o), pattern.mean(-3)
    ratio = plain.sum(-2).norm(dim=-1) / (plain.sum(-2).norm(dim=-1) + own.norm(dim=-1))
    shares = plain.norm(dim=-1) / plain.norm(dim=-1).sum(-1, keepdim=True)
    half, none = torch.full_like(ratio, 0.5), torch.zeros_like(ratio)
    once, own_once = normed(plain, first), normed(own[..., None, :], first)
    expected = {
        "W": (weights, none),
        "W_FIXEDRES": (weights / 2, half),
        "W_RES": (ratio[..., None] * weights, 1 - ratio),
        "N": (plain.norm(dim=-1), none),
        "N_FIXEDRES": (shares / 2, half),
        "N_RES": (plain.norm(dim=-1), own.norm(dim=-1)),
        "N_RESLN": (once.norm(dim=-1), own_once[..., 0, :].norm(dim=-1)),
        "N_ENC": (normed(once, first).norm(dim=-1), normed(own_once, first)[..., 0, :].norm(dim=-1)),
    }
    for name, (sources, kept) in maps.items():
        torch.testing.assert_close(sources, expected[name][0], **EXACT)
        torch.testing.assert_close(kept, expected[name][1], **EXACT)


def test_the_epsilon_of_a_norm_is_under_the_root():
    """A stream so short that it matters where eps is added; torch's own LayerNorm is the judge."""
    pattern, values, w_o, own = make(size=3)
    values, own = values * 1e-3, own * 1e-3
    whole = vectors(pattern, values, w_o, own)
    stream = whole.sum(-2)
    layer_norm = torch.nn.LayerNorm(D, eps=1e-5, dtype=torch.float64)
    norm = FrozenNorm(scale=norm_scale(stream, centred=True, eps=1e-5), centred=True, weight=layer_norm.weight.detach())
    torch.testing.assert_close(normed(whole, norm).sum(-2), layer_norm(stream).detach(), **EXACT)
    found = mixing_maps(pattern, values, w_o, own, after_attention=[norm], names=["N_RESLN"])["N_RESLN"]
    divided = (whole - whole.mean(-1, keepdim=True)).norm(dim=-1) / (stream.var(-1, correction=0) + 1e-5).sqrt()[
        ..., None
    ]
    torch.testing.assert_close(found, divided, **EXACT)


def test_chunks_of_keys_change_nothing(monkeypatch):
    pattern, values, w_o, own = make(6, 2)
    whole = contribution_norms(pattern, values, w_o, own)
    monkeypatch.setattr(contributions, "CHUNK_BYTES", 2 * 2 * 6 * D * 8)
    assert [start for start, _ in contributions.source_vectors(values, w_o)] == [0, 2, 4]
    torch.testing.assert_close(contribution_norms(pattern, values, w_o, own), whole, rtol=1e-14, atol=0)


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
def test_batches_are_prompts_side_by_side(batch):
    pattern, values, w_o, own = make(batch=batch)
    for name, map_ in mixing_maps(pattern, values, w_o, own).items():
        assert map_.shape == (*batch, 6, 6)
        for index in torch.ones(batch).nonzero().tolist() if batch else [[]]:
            at = tuple(index)
            alone = mixing_maps(pattern[at], values[at], w_o, own[at], names=[name])[name]
            torch.testing.assert_close(map_[at], alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_computed_in_single(dtype):
    inputs = make(dtype=dtype)
    for name, map_ in mixing_maps(*inputs).items():
        assert map_.dtype == torch.float32
        exact = mixing_maps(*(x.double() for x in inputs))[name]
        torch.testing.assert_close(map_.double(), exact, rtol=1e-5, atol=1e-5)


def test_one_token_takes_all_from_itself():
    pattern, values, w_o, own = make(size=1)
    norm = a_norm(own)
    for name, map_ in mixing_maps(pattern, values, w_o, own, after_attention=[norm], after_block=[norm]).items():
        assert (map_ > 0).all(), name
        torch.testing.assert_close(row_normalized(map_), torch.ones(2, 1, 1, dtype=torch.float64))
    assert (mixing_ratio(pattern, values, w_o, own) == 0).all()


def test_a_pattern_that_looks_at_itself_gives_diagonal_maps():
    _, values, w_o, own = make()
    pattern = torch.eye(6, dtype=torch.float64).expand(2, 4, 6, 6)
    norm = a_norm(own)
    for map_ in mixing_maps(pattern, values, w_o, own, after_attention=[norm], after_block=[norm]).values():
        assert torch.equal(map_, torch.diag_embed(map_.diagonal(0, -2, -1)))


def test_one_head_is_attention_times_length():
    pattern, values, w_o, _ = make(1, 1)
    lengths = (values[..., 0, :] @ w_o[0]).norm(dim=-1)
    torch.testing.assert_close(contribution_norms(pattern, values, w_o), pattern[:, 0] * lengths[:, None], **EXACT)
    values = values / lengths[..., None, None]  # all equally long: the norms are the weights
    torch.testing.assert_close(contribution_norms(pattern, values, w_o), pattern[:, 0], **EXACT)


def test_heads_that_cancel_leave_almost_nothing():
    """The inner products are taken in double precision even for single-precision models."""
    pattern, values, w_o, _ = make(2, 1, dtype=torch.float32)
    pattern[:, 1] = pattern[:, 0]
    w_o[1] = -w_o[0] * (1 + 1e-4)
    found = contribution_norms(pattern, values, w_o)
    exact = contribution_norms(pattern.double(), values.double(), w_o.double())
    torch.testing.assert_close(found.double(), exact, rtol=5e-3, atol=0)


def test_values_of_zero_leave_each_position_to_itself():
    pattern, values, w_o, own = make()
    maps = mixing_maps(pattern, torch.zeros_like(values), w_o, own)
    assert (mixing_ratio(pattern, torch.zeros_like(values), w_o, own) == 0).all()
    eye = torch.eye(6, dtype=torch.float64).expand(2, 6, 6)
    assert torch.equal(maps["W_RES"], eye) and torch.equal(maps["N_FIXEDRES"], eye)
    assert not maps["N"].any()
    torch.testing.assert_close(maps["N_RES"], torch.diag_embed(own.norm(dim=-1)))


def test_nothing_at_all_is_no_mixing_and_no_nan():
    pattern, values, w_o, own = make()
    maps = mixing_maps(pattern, torch.zeros_like(values), w_o, torch.zeros_like(own))
    assert (mixing_ratio(pattern, torch.zeros_like(values), w_o, torch.zeros_like(own)) == 0).all()
    assert all(torch.isfinite(map_).all() for map_ in maps.values())


def test_moves_with_the_tokens():
    pattern, values, w_o, own = make(causal=False)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = mixing_maps(pattern[..., order, :][..., order], values[:, order], w_o, own[:, order])
    for name, map_ in mixing_maps(pattern, values, w_o, own).items():
        torch.testing.assert_close(moved[name], map_[:, order][..., order], **EXACT)


def test_ratios_lie_between_nothing_and_everything():
    for seed in range(20):
        ratio = mixing_ratio(*make(seed=seed, causal=seed % 2 == 0))
        assert ((ratio >= 0) & (ratio <= 1)).all()


def test_an_unknown_rung_is_named():
    with pytest.raises(UnknownName, match="N_RES"):
        mixing_maps(*make(), names=["N_REZ"])
