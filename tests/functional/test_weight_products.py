"""Products of a head's weights against the full (d_model, d_model) matrix, closed forms and invariances."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import (
    effective_rank,
    entry_correlation,
    fold_norm,
    identity_cosine,
    product_picture,
    weight_product,
)

close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def orthonormal(d_model, d_head, seed=0):
    return torch.linalg.qr(drawn(d_model, d_head, seed=seed)).Q


@pytest.mark.parametrize(("d_model", "d_head"), [(20, 6), (7, 7), (5, 9)])
def test_every_number_is_that_of_the_full_product(d_model, d_head):
    left, right = drawn(3, d_model, d_head), drawn(3, d_head, d_model, seed=1)
    found, core = weight_product(left, right), min(d_model, d_head)
    for h in range(3):
        full = left[h].numpy() @ right[h].numpy()
        values, roots = np.linalg.svd(full, compute_uv=False), np.linalg.eigvals(full)
        roots = roots[np.argsort(-np.abs(roots))][:core]
        shares = values[:core] / values.sum()
        close(found.singular_values[h], values[:core])
        close(found.eigenvalues[h].abs(), np.abs(roots))
        close(found.eigenvalues[h].real.sum(), roots.real.sum())
        assert int(found.rank[h]) == np.linalg.matrix_rank(full) == core
        identity = np.eye(d_model)
        expected = {
            "trace": np.trace(full),
            "identity": np.trace(full) / np.linalg.norm(full, "nuc"),
            "cosine": (full * identity).sum() / np.linalg.norm(full) / np.linalg.norm(identity),
            "positive": (roots.real > 0).mean(),
            "eigenvalue_sign": roots.real.sum() / np.abs(roots).sum(),
            "effective_rank": math.exp(-(shares * np.log(shares)).sum()),
            "effective_share": math.exp(-(shares * np.log(shares)).sum()) / core,
        }
        for name, value in expected.items():
            close(getattr(found, name)[h], value, err_msg=name)
        close(identity_cosine(left, right)[h], expected["cosine"])


def test_a_head_that_looks_for_itself_is_the_identity_on_what_it_sees():
    w = orthonormal(32, 8)
    same, against = weight_product(w, w.T), weight_product(w, -w.T)
    assert same.identity.item() == pytest.approx(1, abs=1e-12) and against.identity.item() == pytest.approx(-1)
    assert same.cosine.item() == pytest.approx(same.cosine_bound) == pytest.approx(math.sqrt(8 / 32))
    assert against.cosine.item() == pytest.approx(-same.cosine_bound)
    assert (same.positive.item(), against.positive.item()) == (1, 0)
    assert (same.eigenvalue_sign.item(), against.eigenvalue_sign.item()) == (pytest.approx(1), pytest.approx(-1))
    assert same.effective_rank.item() == pytest.approx(8) and same.effective_share.item() == pytest.approx(1)
    assert entry_correlation(w, w).item() == pytest.approx(1) and entry_correlation(w, -w).item() == pytest.approx(-1)


def test_unequal_directions_are_still_the_identity_by_trace_and_less_so_by_cosine():
    w = orthonormal(32, 4) * torch.tensor([3.0, 1.0, 0.5, 0.1])
    found = weight_product(w, w.T)
    weights = np.array([9, 1, 0.25, 0.01])
    assert found.identity.item() == pytest.approx(1)
    assert found.cosine.item() == pytest.approx(weights.sum() / np.linalg.norm(weights) / math.sqrt(32))
    assert found.cosine.item() < found.cosine_bound - 0.1


def test_unrelated_weights_are_near_nothing():
    found = weight_product(drawn(40, 256, 32), drawn(40, 32, 256, seed=1))
    assert found.identity.abs().max() < 0.1 and found.cosine.abs().max() < 0.04
    assert found.identity.mean().abs() < 0.01 and abs(found.positive.mean().item() - 0.5) < 0.05
    assert entry_correlation(drawn(40, 256, 32), drawn(40, 256, 32, seed=1)).abs().max() < 0.05


def test_a_turn_back_and_forth_is_neither_for_nor_against():
    """A rotation of planes: eigenvalues +-i, all singular values 1, trace 0."""
    w = orthonormal(16, 4)
    turn = torch.block_diag(*[torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)] * 2)
    found = weight_product(w @ turn, w.T)
    assert found.identity.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(found.eigenvalues.imag.sort().values, torch.tensor([-1.0, -1, 1, 1]).double())
    assert found.effective_rank.item() == pytest.approx(4)


def test_what_changes_no_score_changes_no_number():
    q, k = drawn(24, 6), drawn(24, 6, seed=1)
    a = drawn(6, 6, seed=2)
    plain, other = weight_product(q, k.T), weight_product(q @ a, (k @ torch.linalg.inv(a).T).T)
    turned = torch.linalg.qr(drawn(24, 24, seed=3)).Q  # another basis of the stream
    moved = weight_product(turned @ q, (turned @ k).T)
    for name in ("singular_values", "trace", "identity", "cosine", "eigenvalue_sign", "effective_rank", "positive"):
        for changed in (other, moved):
            torch.testing.assert_close(getattr(changed, name), getattr(plain, name), rtol=1e-7, atol=1e-9, msg=name)
    scaled = weight_product(q * 7, k.T)
    for name in ("identity", "cosine", "effective_rank"):
        torch.testing.assert_close(getattr(scaled, name), getattr(plain, name))
    assert (entry_correlation(q @ a, k @ torch.linalg.inv(a).T) - entry_correlation(q, k)).abs() > 0.01


def test_the_effective_rank_of_a_projector_is_its_rank():
    for rank in (1, 3, 7):
        basis = orthonormal(12, rank)
        assert effective_rank(torch.linalg.svdvals(basis @ basis.T)).item() == pytest.approx(rank)
    assert effective_rank(torch.tensor([2.0, 2.0, 0.0, 0.0])).item() == pytest.approx(2)
    assert effective_rank(torch.tensor([[0.9, 0.1]])).item() == pytest.approx(0.9**-0.9 * 0.1**-0.1)
    assert effective_rank(torch.zeros(2, 3)).isnan().all()


def test_a_head_without_weights_is_undefined_and_counted():
    found = weight_product(torch.stack([torch.zeros(6, 2), torch.ones(6, 2)]), torch.ones(2, 2, 6))
    assert found.rank.tolist() == [0, 1]
    for name in ("effective_rank", "effective_share", "identity", "cosine", "positive", "eigenvalue_sign"):
        assert getattr(found, name).isnan().tolist() == [True, False], name
    assert found.positive[1] == 1  # the one eigenvalue that is not zero
    assert identity_cosine(torch.zeros(6, 2), torch.ones(2, 6)).isnan()
    assert entry_correlation(torch.full((4, 2), 0.1), drawn(4, 2).float()).isnan()


def test_correlation_of_entries_is_pearsons():
    a, b = drawn(2, 9, 4) + 3, drawn(2, 9, 4, seed=1)
    b = 0.5 * a + b
    for h in range(2):
        expected = np.corrcoef(a[h].flatten().numpy(), b[h].flatten().numpy())[0, 1]
        assert entry_correlation(a, b)[h].item() == pytest.approx(expected)


@pytest.mark.parametrize("centred", [True, False])
def test_a_folded_norm_leaves_only_a_tokens_size_outside(centred):
    norm = (torch.nn.LayerNorm if centred else torch.nn.RMSNorm)(10, eps=0.0, dtype=torch.float64)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(4))
    x, w = drawn(5, 10, seed=5) + 1, drawn(10, 3, seed=6)
    size = x.std(-1, correction=0, keepdim=True) if centred else x.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(x @ fold_norm(w, norm.weight.detach(), centred=centred) / size, norm(x).detach() @ w)


@pytest.mark.parametrize("size", [1, 4, 6, 13, 99])
def test_a_picture_is_the_mean_of_each_block_of_the_product(size):
    left, right = drawn(2, 13, 3), drawn(2, 3, 13, seed=1)
    full, n = (left @ right).numpy(), min(size, 13)
    edges = [13 * i // n for i in range(n + 1)]
    found = product_picture(left, right, size)
    assert found.shape == (2, n, n)
    for i in range(n):
        for j in range(n):
            block = full[:, edges[i] : edges[i + 1], edges[j] : edges[j + 1]]
            close(found[:, i, j], block.mean((1, 2)))


def test_half_precision_is_computed_in_single():
    left, right = drawn(20, 4).half(), drawn(4, 20, seed=1).half()
    found, exact = weight_product(left, right), weight_product(left.float(), right.float())
    assert found.trace.dtype == torch.float32 and torch.equal(found.singular_values, exact.singular_values)
    assert product_picture(left, right, 5).dtype == entry_correlation(left, left).dtype == torch.float32
    assert weight_product(left.double(), right.double()).eigenvalues.dtype == torch.complex128


def test_what_does_not_fit_is_a_sentence(as_installed):
    with pytest.raises(BadInput, match="transpose"):
        weight_product(drawn(6, 2), drawn(6, 2))
    with pytest.raises(BadInput, match="NaN or infinity"):
        weight_product(drawn(6, 2) * torch.nan, drawn(2, 6))
    with pytest.raises(BadInput, match="one pixel"):
        product_picture(drawn(6, 2), drawn(2, 6), 0)
    for of in (weight_product, identity_cosine, lambda a, b: product_picture(a, b, 4)):
        with pytest.raises(BadInput, match="of the same heads.*repeat_kv"):
            of(drawn(4, 6, 2), drawn(3, 2, 6))
        with pytest.raises(BadInput, match=r"axes \(\*, row, column\)"):
            of(drawn(6), drawn(6))
    with pytest.raises(BadInput, match=r"\(6, 2\) and \(2, 6\) differ"):
        entry_correlation(drawn(6, 2), drawn(2, 6))
    with pytest.raises(BadInput, match=r"each of 6 numbers of the stream, not \(2,\)"):
        fold_norm(drawn(6, 2), drawn(2), centred=True)
    with pytest.raises(BadInput, match=r"shape \(6,\)"):
        entry_correlation(drawn(6), drawn(6))
