"""Proximity against published values, closed forms and the tensor of all parts."""

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import (
    attention_contributions,
    neuron_contributions,
    part_contributions,
    part_proximity,
    proximity,
    threshold_contributions,
)

D, D_HEAD, SIZE = 12, 4, 6
EXACT = {"rtol": 1e-9, "atol": 1e-11}
both_norms = pytest.mark.parametrize("norm", ["l1", "l2"])


def numbers(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(parts, whole, norm, drop=0, eps=1e-5):
    """Shares of (part, d) in one whole (d,), as the paper writes it, a part after the other."""
    kept = sorted(range(len(whole)), key=lambda d: -abs(whole[d].item()))[drop:]
    order = {"l1": 1, "l2": 2}[norm]
    length = torch.linalg.vector_norm(whole[kept], order).item()
    near = [
        max(length - torch.linalg.vector_norm((whole - p)[kept], order).item(), eps) if p.any() else 0.0 for p in parts
    ]
    return torch.tensor([one / sum(near) for one in near], dtype=torch.float64)


def block(*, batch=(), causal=True, heads=4, kv_heads=2, seed=0):
    """(pattern, values, w_o, others (stream before, bias), whole) of an attention block."""
    scores = 2 * normal(*batch, heads, SIZE, SIZE, seed=seed)
    if causal:
        scores = scores.masked_fill(torch.ones(SIZE, SIZE).triu(1).bool(), -torch.inf)
    pattern, values = scores.softmax(-1), normal(*batch, SIZE, kv_heads, D_HEAD, seed=seed + 1)
    w_o, own, bias = normal(heads, D_HEAD, D, seed=seed + 2), normal(*batch, SIZE, D, seed=seed + 3), normal(D, seed=9)
    others = torch.stack([own, bias.expand_as(own)], -2)
    return pattern, values, w_o, others, parts_of(pattern, values, w_o).sum((-4, -2)) + others.sum(-2)


def parts_of(pattern, values, w_o):
    """(*batch, head, query, key, d_model), the tensor that the library never makes."""
    values = values.repeat_interleave(w_o.shape[0] // values.shape[-2], -2)
    return torch.einsum("...hqk,...khd,hdm->...hqkm", pattern, values, w_o)


def by_hand(pattern, values, w_o, others, whole, norm, drop=0):
    heads, rest = torch.zeros_like(pattern), torch.zeros_like(others[..., 0])
    every = parts_of(pattern, values, w_o)
    for q in range(pattern.shape[-2]):
        found = plain(torch.cat([every[:, q].flatten(0, 1), others[q]]), whole[q], norm, drop)
        heads[:, q] = found[: -others.shape[1]].reshape(pattern.shape[0], -1)
        rest[q] = found[-others.shape[1] :]
    return heads, rest


# ---- published values ---------------------------------------------------------------------------------------------


def test_worked_attention():
    found = part_contributions(numbers([1, 1], [-1, 0], [2, 1]), numbers([2, 2])[0], norm="l2")
    torch.testing.assert_close(found, numbers([0.43613, 0, 0.56387])[0], atol=1e-5, rtol=0)


@both_norms
def test_worked_mlp(norm):
    found = part_contributions(numbers([1, 1], [0, 0]), numbers([1, 1])[0], norm=norm)
    assert found.tolist() == [1.0, 0.0]


def test_worked_neurons_and_the_blind_spot():
    """The third neuron flips the sign of a coordinate and scores nothing, because it overshoots."""
    activations, w_out = torch.ones(1, 3, dtype=torch.float64), numbers([0, 1], [1, 0], [-21, -1])
    pre, post = numbers([10, 10]), numbers([-10, 10])
    neurons, rest = neuron_contributions(activations, w_out, pre[:, None], post, norm="l2")
    torch.testing.assert_close(neurons, numbers([1, 0, 0]), atol=1e-4, rtol=0)
    assert rest.item() < 1e-4
    assert torch.linalg.vector_norm(post - w_out[2]) > torch.linalg.vector_norm(post)


@both_norms
def test_worked_neurons_along_one_line(norm):
    activations, w_out = torch.ones(1, 2, dtype=torch.float64), numbers([1, 1], [2, 2])
    neurons, rest = neuron_contributions(activations, w_out, numbers([1, 1])[:, None], numbers([4, 4]), norm=norm)
    torch.testing.assert_close(torch.cat([neurons, rest], -1), numbers([0.25, 0.5, 0.25]), **EXACT)


def test_worked_threshold():
    parts = torch.tensor([[0.05, 0.15, 0.8], [0.05, 0.05, 0.9]])
    found = threshold_contributions(parts, 0.1)
    torch.testing.assert_close(found, torch.tensor([[0, 0.157894, 0.842105], [0, 0, 1.0]]), atol=1e-6, rtol=0)
    assert threshold_contributions(parts, 0.1, renormalise=False).tolist() == parts.where(parts > 0.1, 0).tolist()


def test_a_threshold_that_leaves_nothing_gives_zeros():
    assert not threshold_contributions(torch.tensor([0.5, 0.5]), 0.5).any()


# ---- laws -----------------------------------------------------------------------------------------------------------


@both_norms
@pytest.mark.parametrize("drop", [0, 3])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_that_of_all_its_parts(norm, drop, causal):
    given = block(causal=causal)
    heads, rest = attention_contributions(*given, norm=norm, drop=drop)
    expected = by_hand(*given, norm, drop)
    torch.testing.assert_close(heads, expected[0], **EXACT)
    torch.testing.assert_close(rest, expected[1], **EXACT)
    torch.testing.assert_close(heads.sum((0, 2)) + rest.sum(-1), torch.ones(SIZE, dtype=torch.float64), **EXACT)
    assert not causal or not heads.triu(1).any()


@both_norms
def test_batches_and_grouped_queries(norm):
    given = block(batch=(2, 3), heads=6)
    heads, rest = attention_contributions(*given, norm=norm)
    pattern, values, w_o, others, whole = given
    for i in range(2):
        for j in range(3):
            one = attention_contributions(pattern[i, j], values[i, j], w_o, others[i, j], whole[i, j], norm=norm)
            torch.testing.assert_close((heads[i, j], rest[i, j]), one, **EXACT)


@pytest.mark.parametrize("drop", [0, 2])
def test_compiled_and_plain_tensors_agree(drop, monkeypatch):
    given = [x.float() for x in block(batch=(2,))]
    compiled = attention_contributions(*given, drop=drop)
    monkeypatch.setattr(proximity, "BLOCK_BYTES", 3 * 2 * SIZE * D * 4)
    graph = [x.requires_grad_() for x in given]
    tensors = attention_contributions(*graph, drop=drop)
    assert tensors[0].requires_grad and not compiled[0].requires_grad
    torch.testing.assert_close(compiled, tuple(x.detach() for x in tensors), atol=2e-6, rtol=1e-5)


@both_norms
@pytest.mark.parametrize("drop", [0, 1])
def test_parts_along_one_line_get_their_coefficients(norm, drop):
    whole, shares = normal(D), torch.tensor([0.1, 0.0, 0.25, 0.65], dtype=torch.float64)
    found = part_contributions(shares[:, None] * whole, whole, norm=norm, drop=drop)
    torch.testing.assert_close(found, shares, **EXACT)


@both_norms
def test_parts_against_the_whole_and_past_twice_its_length_count_nothing(norm):
    whole = normal(D)
    near = part_proximity(torch.stack([-whole, 2.5 * whole, -0.5 * whole]), whole, norm=norm)
    assert near.tolist() == [1e-5] * 3


@both_norms
def test_invariances(norm):
    parts = normal(5, D)
    whole = parts.sum(0)
    found = part_contributions(parts, whole, norm=norm, eps=0.0)
    order = torch.randperm(D, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(part_contributions(parts[:, order], whole[order], norm=norm, eps=0.0), found, **EXACT)
    torch.testing.assert_close(part_contributions(30 * parts, 30 * whole, norm=norm, eps=0.0), found, **EXACT)
    turn = torch.linalg.qr(normal(D, D, seed=3)).Q
    turned = part_contributions(parts @ turn, whole @ turn, norm=norm, eps=0.0)
    assert torch.allclose(turned, found, atol=1e-9) == (norm == "l2")


@both_norms
def test_all_heads_zero_leaves_the_stream_alone(norm):
    pattern, values, w_o, others, _ = block()
    heads, rest = attention_contributions(pattern, 0 * values, w_o, others[:, :1], others[:, 0], norm=norm)
    torch.testing.assert_close(rest, torch.ones(SIZE, 1, dtype=torch.float64), atol=1e-3, rtol=0)
    assert heads.max() < 1e-4


@both_norms
def test_a_copying_head_takes_all(norm):
    pattern = torch.zeros(1, SIZE, SIZE, dtype=torch.float64)
    pattern[0, :, 0] = 1
    w_o = 1e4 * torch.eye(D, dtype=torch.float64)[None]
    values, own = normal(SIZE, 1, D), normal(SIZE, D, seed=5)
    whole = own + (parts_of(pattern, values, w_o)).sum((0, 2))
    heads, _ = attention_contributions(pattern, values, w_o, own[:, None], whole, norm=norm)
    assert heads[0, :, 0].min() > 0.999


def test_higher_thresholds_keep_fewer():
    parts = normal(40, 9, D) + 1
    found = part_contributions(parts, parts.sum(-2))
    kept = [threshold_contributions(found, t / 100, renormalise=False) for t in range(1, 11)]
    for less, more in zip(kept, kept[1:], strict=False):
        assert (more[more > 0] == less[more > 0]).all() and (more > 0).sum() < (less > 0).sum()
    again = threshold_contributions(found, 0.04)
    left = (found > 0.04).any(-1)
    torch.testing.assert_close(again.sum(-1)[left], torch.ones(int(left.sum()), dtype=torch.float64), **EXACT)
    assert torch.equal(again > 0, kept[3] > 0)


def test_the_largest_coordinates_can_be_left_out():
    """One huge coordinate decides all; without it the parts count by the rest."""
    parts = numbers([1000, 1, 0, 0], [0, 0, 3, 3])
    whole = parts.sum(0)
    assert part_contributions(parts, whole)[0] > 0.99
    torch.testing.assert_close(part_contributions(parts, whole, drop=1), numbers([1 / 7, 6 / 7])[0], **EXACT)
    with pytest.raises(BadInput, match="Of 4 coordinates 0 to 3 can be left out, not 4"):
        part_contributions(parts, whole, drop=4)


def test_nothing_at_all_is_zero():
    assert not part_contributions(torch.zeros(3, D), torch.zeros(D)).any()


@both_norms
def test_half_precision_is_computed_in_single(norm):
    given = [x.to(torch.bfloat16) for x in block()]
    heads, rest = attention_contributions(*given, norm=norm)
    exact = attention_contributions(*(x.double() for x in given), norm=norm)
    assert heads.dtype == rest.dtype == torch.float32
    torch.testing.assert_close((heads.double(), rest.double()), exact, atol=1e-5, rtol=1e-3)


def test_never_makes_the_tensor_of_all_parts():
    """Every tensor made on the way is far smaller than (query, key, d_model), the parts of one head."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(x, torch.Tensor):
                    self.seen = max(self.seen, x.numel())
            return out

    size, heads, d_model = 64, 3, 48
    pattern, values = torch.rand(heads, size, size), torch.rand(size, heads, 8)
    given = (pattern, values, torch.rand(heads, 8, d_model), torch.rand(size, 1, d_model), torch.rand(size, d_model))
    for norm in ("l1", "l2"):
        with Largest() as largest:
            attention_contributions(*given, norm=norm)
        assert largest.seen <= heads * size * size < size * size * d_model
