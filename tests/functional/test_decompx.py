"""The pieces of DecompX: each against the whole tensor it goes without, and together against torch's own modules."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.functional import (
    MlpBranch,
    absdot,
    activation_slope,
    attention_parts,
    contribution_norms,
    decompx,
    frozen_norm,
    gated_slopes,
    mlp_parts,
    norm_scale,
    slope_at_zero,
    with_bias,
)
from workbench.functional.decompx import apart, decomposition_bytes

D, D_MLP, D_HEAD, T = 6, 10, 3, 5
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts_of(sources=T, *, causal=True, batch=(2,), seed=0):
    parts = normal(*batch, sources, T, D, seed=seed)
    return parts * torch.ones(sources, T).triu()[..., None] if causal else parts


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        fresh = isinstance(out, torch.Tensor) and not out._is_view() and "expand" not in str(func)
        self.numel = max(self.numel, out.numel() if fresh else 0)
        return out


def test_a_bias_is_split_by_how_much_parts_point_along_it():
    parts, bias = parts_of(causal=False), normal(D, seed=1)
    found = with_bias(parts, bias)
    torch.testing.assert_close(found.sum(-3), parts.sum(-3) + bias, **EXACT)
    for k in range(T):
        dots = torch.stack([parts[:, j] @ bias for j in range(T)]).abs()
        share = dots[k] / dots.sum(0)
        torch.testing.assert_close(found[:, k], parts[:, k] + share[..., None] * bias, **EXACT)


def test_a_bias_that_differs_by_position():
    parts, bias = parts_of(causal=False), normal(T, D, seed=1)
    alone = [with_bias(parts[:, :, i : i + 1], bias[i])[:, :, 0] for i in range(T)]
    torch.testing.assert_close(with_bias(parts, bias), torch.stack(alone, -2), **EXACT)


def test_shares_of_nothing_are_alike_among_those_that_reach():
    reach = torch.ones(T, T).triu().bool()
    assert torch.equal(absdot(torch.zeros(T, T), reach), reach / torch.arange(1.0, T + 1))
    assert torch.equal(absdot(torch.zeros(2, T, 4)), torch.full((2, T, 4), 1 / T))
    shares = absdot(torch.tensor([[0.0, 3.0], [0.0, -1.0]]), torch.tensor([[True, True], [False, True]]))
    assert shares.tolist() == [[1.0, 0.75], [0.0, 0.25]]


def test_a_bias_of_zeros_is_skipped_and_one_apart_is_the_last_sources():
    parts = parts_of()
    assert with_bias(parts, torch.zeros(D, dtype=torch.float64)) is parts
    bias = normal(D, seed=1)
    found = with_bias(parts, bias, apart)
    assert torch.equal(found[:, :-1], parts[:, :-1])
    assert torch.equal(found[:, -1], parts[:, -1] + bias)


@pytest.mark.parametrize("chunk", [1, 400, 2**26])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(4, 2), (2, 2)])
def test_attention_part_by_part(n_heads, n_kv_heads, causal, chunk, monkeypatch):
    monkeypatch.setattr(decompx, "CHUNK_BYTES", chunk)
    pattern = normal(2, n_heads, T, T, seed=2)
    if causal:
        pattern = pattern.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
    pattern = pattern.softmax(-1)
    parts, w_v, w_o = parts_of(), normal(D, n_kv_heads, D_HEAD, seed=3), normal(n_heads, D_HEAD, D, seed=4)
    expected = torch.zeros(2, T, T, D, dtype=torch.float64)
    for head in range(n_heads):
        one = w_v[:, head * n_kv_heads // n_heads] @ w_o[head]
        for k in range(T):
            expected[:, k] += pattern[:, head] @ (parts[:, k] @ one)
    torch.testing.assert_close(attention_parts(parts, pattern, w_v, w_o), expected, **EXACT)


def test_cross_attention_has_other_queries():
    parts, pattern = parts_of(causal=False), normal(2, 4, 3, T, seed=2).softmax(-1)
    w_v, w_o = normal(D, 4, D_HEAD, seed=3), normal(4, D_HEAD, D, seed=4)
    found = attention_parts(parts, pattern, w_v, w_o)
    assert found.shape == (2, T, 3, D)
    expected = torch.einsum("bhqj,bkjm,mhd,hdn->bkqn", pattern, parts, w_v, w_o)
    torch.testing.assert_close(found, expected, **EXACT)


def test_attention_and_its_biases_against_torch():
    module = torch.nn.MultiheadAttention(D, 2, batch_first=True, dtype=torch.float64)
    torch.nn.init.normal_(module.in_proj_bias)
    torch.nn.init.normal_(module.out_proj.bias)
    parts = parts_of(causal=False)
    x = parts.sum(-3)
    with torch.no_grad():
        out, pattern = module(x, x, x, average_attn_weights=False)
        w_v = module.in_proj_weight[2 * D :].T.unflatten(1, (2, D_HEAD))
        b_v = module.in_proj_bias[2 * D :]
        w_o = module.out_proj.weight.T.unflatten(0, (2, D_HEAD))
        bias = module.out_proj.bias + b_v @ module.out_proj.weight.T
        found = with_bias(attention_parts(parts, pattern, w_v, w_o), bias)
    torch.testing.assert_close(found.sum(-3), out, **EXACT)


@pytest.mark.parametrize("chunk", [1, 500, 2**26])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("split", [absdot, apart])
def test_an_mlp_part_by_part(causal, split, chunk, monkeypatch):
    monkeypatch.setattr(decompx, "CHUNK_BYTES", chunk)
    w_in, b_in, w_out = normal(D, D_MLP, seed=1), normal(D_MLP, seed=2), normal(D_MLP, D, seed=3)
    parts = parts_of(causal=causal)
    reach = torch.ones(T, T).triu().bool() if causal else None
    before = parts.sum(-3) @ w_in + b_in
    after = torch.nn.functional.gelu(before)
    slope = activation_slope(before, after, 0.5)
    found = mlp_parts(parts, [MlpBranch(weight=w_in, bias=b_in, slope=slope)], w_out, split, reach)
    hidden = with_bias(parts @ w_in, b_in, split, reach)  # (batch, source, pos, d_mlp), whole
    torch.testing.assert_close(found, (hidden * slope[:, None]) @ w_out, **EXACT)
    torch.testing.assert_close(found.sum(-3), after @ w_out, **EXACT)


@pytest.mark.parametrize("gate_share", [0.0, 0.3, 0.5, 1.0])
def test_a_gated_mlp_adds_up_however_its_product_is_split(gate_share):
    w_gate, w_up, w_out = normal(D, D_MLP, seed=1), normal(D, D_MLP, seed=2), normal(D_MLP, D, seed=3)
    b_up = normal(D_MLP, seed=4)
    parts = parts_of()
    a, b = parts.sum(-3) @ w_gate, parts.sum(-3) @ w_up + b_up
    act = torch.nn.functional.silu(a)
    slopes = gated_slopes(a, act, b, 0.5, gate_share)
    branches = [
        MlpBranch(weight=w_gate, bias=None, slope=slopes[0]),
        MlpBranch(weight=w_up, bias=b_up, slope=slopes[1]),
    ]
    found = mlp_parts(parts, branches, w_out)
    torch.testing.assert_close(found.sum(-3), (act * b) @ w_out, **EXACT)
    theta = act / a
    gate, up = parts @ w_gate, with_bias(parts @ w_up, b_up)
    one_way, other = theta[:, None] * gate * b[:, None], act[:, None] * up
    expected = (gate_share * one_way + (1 - gate_share) * other) @ w_out
    torch.testing.assert_close(found, expected, **EXACT)


def test_half_and_half_are_the_shapley_shares_of_a_product():
    """Two sources and one number: v(S) = (sum of a_k) (sum of b_k) over S, with the slope 1."""
    a, b = torch.tensor([2.0, 3.0]), torch.tensor([5.0, -7.0])
    slopes = gated_slopes(a.sum()[None], a.sum()[None], b.sum()[None], 1.0)
    shares = slopes[0] * a + slopes[1] * b

    def worth(*sources):
        chosen = torch.tensor(sources, dtype=torch.long)
        return a[chosen].sum() * b[chosen].sum()

    first = (worth(0) - worth() + worth(0, 1) - worth(1)) / 2
    assert shares.tolist() == [first.item(), (worth(0, 1) - first).item()]


def test_a_slope_is_the_derivative_where_nothing_comes_in():
    names = {"gelu": 0.5, "silu": 0.5, "relu": 0.0, "tanh": 1.0}
    for name, expected in names.items():
        act = getattr(torch.nn.functional, name) if name != "tanh" else torch.tanh
        x = torch.tensor([-2.0, -1e-30, 0.0, 1e-30, 3.0], dtype=torch.float64)
        at_zero = slope_at_zero(act, x)
        assert at_zero == expected
        slope = activation_slope(x, act(x), at_zero)
        assert torch.isfinite(slope).all() and slope[2] == expected
        torch.testing.assert_close(slope * x, act(x), rtol=1e-15, atol=0)


def test_a_norm_with_its_bias_part_by_part():
    norm = torch.nn.LayerNorm(D, dtype=torch.float64)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    parts = parts_of()
    x = parts.sum(-3)
    with torch.no_grad():
        scale = norm_scale(x, centred=True, eps=norm.eps)
        found = with_bias(frozen_norm(parts, scale[:, None], centred=True, weight=norm.weight), norm.bias)
        torch.testing.assert_close(found.sum(-3), norm(x), **EXACT)


def test_the_largest_tensor_is_that_of_a_few_sources(monkeypatch):
    size, width, hidden = 12, 8, 96
    monkeypatch.setattr(decompx, "CHUNK_BYTES", 3 * size * hidden * 8)  # three sources
    parts = normal(size, size, width)
    slope, w_in, w_out = normal(size, hidden), normal(width, hidden, seed=1), normal(hidden, width, seed=2)
    with Largest() as seen:
        mlp_parts(parts, [MlpBranch(weight=w_in, bias=None, slope=slope)], w_out)
    assert seen.numel == 3 * size * hidden < size * size * hidden
    assert decomposition_bytes(size, size, width, hidden, width, 8) >= (4 * size * size * width + seen.numel) * 8


def test_norm_based_maps_never_make_the_tensor_of_all_contributions():
    size, heads, d_head, width = 40, 4, 8, 96
    pattern, values = normal(heads, size, size).softmax(-1), normal(size, heads, d_head)
    w_o, own = normal(heads, d_head, width), normal(size, width)
    with Largest() as seen:
        contribution_norms(pattern, values, w_o, own)
    assert seen.numel < size * size * width / 8
