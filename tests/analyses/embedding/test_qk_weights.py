"""QK weights: products of a model's own matrices by numpy, planted heads, and norms folded in."""

import numpy as np
import pytest
import torch

import workbench
from workbench import functional
from workbench.analyses.embedding.head_weights import caveats, head_weights
from workbench.analyses.embedding.qk_weights import PRODUCTS, SCORES, product_picture
from workbench.errors import BadInput, UnknownName
from workbench.hooks import reading
from workbench.testing import FAMILIES, example_input, tiny_model

PRE_NORM = [f for f in FAMILIES if f not in ("mamba", "bert", "roberta", "electra", "distilbert", "albert", "bart")]


def by_numpy(left, right):
    """The numbers of a full (d_model, d_model) product."""
    full = left @ right
    values, roots = np.linalg.svd(full, compute_uv=False), np.linalg.eigvals(full)
    rank = left.shape[1]
    shares = values[:rank] / values.sum()
    roots = roots[np.argsort(-np.abs(roots))][:rank]
    return {
        "identity": np.trace(full) / values.sum(),
        "cosine": np.trace(full) / np.linalg.norm(full) / np.sqrt(len(full)),
        "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
        "effective_share": np.exp(-(shares * np.log(shares)).sum()) / rank,
        "positive": (roots.real > 0).mean(),
        "eigenvalue_sign": roots.real.sum() / np.abs(roots).sum(),
        "size": np.linalg.norm(full),
        "correlation": np.corrcoef(left.flatten(), right.T.flatten())[0, 1],
    }


def test_every_number_of_gpt2_from_its_own_matrices():
    model = tiny_model("gpt2")
    frame = workbench.qk_weights(model).to_frame()
    assert len(frame) == 4 and frame["qk_rank"].eq(8).all()
    for _, row in frame.iterrows():
        layer, head = int(row["layer"]), int(row["head"])
        block = model.module.transformer.h[layer].attn
        fused, out = (w.detach().double().numpy() for w in (block.c_attn.weight, block.c_proj.weight))
        q, k, v = (fused[:, part * 16 + head * 8 : part * 16 + head * 8 + 8] for part in range(3))
        for product, expected in (("qk", by_numpy(q, k.T)), ("vo", by_numpy(v, out[head * 8 : head * 8 + 8]))):
            assert set(expected) == set(SCORES)
            for name, value in expected.items():
                assert row[f"{product}_{name}"] == pytest.approx(value, abs=2e-4, rel=1e-4), (product, name)


def test_query_heads_that_share_a_key_are_taken_with_it():
    model = tiny_model("llama")
    found = workbench.qk_weights(model)
    attention = model.module.model.layers[1].self_attn
    q, k, v = (p.weight.detach().double().numpy() for p in (attention.q_proj, attention.k_proj, attention.v_proj))
    out = attention.o_proj.weight.detach().double().numpy()
    for head in range(4):
        mine, shared = slice(head * 4, head * 4 + 4), slice(head // 2 * 4, head // 2 * 4 + 4)
        qk, vo = by_numpy(q[mine].T, k[shared]), by_numpy(v[shared].T, out[:, mine].T)
        assert found.score("qk_identity")[1, head].item() == pytest.approx(qk["identity"], abs=1e-5)
        assert found.score("vo_effective_rank")[1, head].item() == pytest.approx(vo["effective_rank"], rel=1e-5)
    assert found.to_frame()["kv_head"].tolist() == [0, 0, 1, 1] * 2


def planted(mimetic=True):
    """A GPT-2 whose first layer is set as mimetic initialisation wants it: W_Q W_K^T = I on each head, W_V W_O = -I."""
    model = tiny_model("gpt2")
    basis = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0))).Q
    attention = model.module.transformer.h[0].attn
    with torch.no_grad():
        attention.c_attn.weight.copy_(torch.cat([basis, basis if mimetic else -basis, basis], 1))
        attention.c_proj.weight.copy_(-basis.T)
    return model


def test_mimetic_heads_are_found():
    found = workbench.qk_weights(planted())
    assert found.score("qk_identity")[0].tolist() == pytest.approx([1, 1])
    assert found.score("qk_correlation")[0].tolist() == pytest.approx([1, 1])
    assert found.cosine_bound == pytest.approx(0.5**0.5)
    assert found.score("qk_cosine")[0].tolist() == pytest.approx([found.cosine_bound] * 2)
    assert found.score("vo_identity")[0].tolist() == pytest.approx([-1, -1])
    assert found.score("vo_positive")[0].tolist() == [0, 0] and found.score("qk_positive")[0].tolist() == [1, 1]
    assert found.score("qk_effective_rank")[0].tolist() == pytest.approx([8, 8])
    assert found.layer_cosine[0].item() == pytest.approx(-1)
    assert found.layer_cosine[1].abs() < 0.3 and found.score("qk_identity")[1].abs().max() < 0.5
    assert workbench.qk_weights(planted(mimetic=False)).score("qk_identity")[0].tolist() == pytest.approx([-1, -1])


def test_random_weights_are_what_is_called_random():
    found = workbench.qk_weights(tiny_model("gpt2"))
    each = functional.weight_product(torch.randn(200, 16, 8), torch.randn(200, 8, 16))
    assert abs(found.random_effective_rank - each.effective_rank.mean().item()) < 0.3
    assert 0.5 < found.random_spread / each.identity.std().item() < 2


def test_a_head_without_weights_is_undefined_said_and_counted():
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.module.transformer.h[1].attn.c_attn.weight[:, :8] = 0  # W_Q of the first head
    found = workbench.qk_weights(model)
    frame = found.to_frame()
    assert frame["qk_rank"].tolist() == [8, 8, 0, 8]
    assert frame["qk_identity"].isna().tolist() == frame["qk_rank"].eq(0).tolist()
    assert not frame.filter(like="vo_").isna().any().any()
    assert found.notes[-1].startswith("1 heads have a product of zero")
    spectrum = found.spectrum_frame(1, 0)
    assert spectrum.loc[(spectrum["product"] == PRODUCTS["qk"]) & (spectrum["of"] == "head"), "value"].eq(0).all()


@pytest.mark.parametrize("family", PRE_NORM)
@torch.no_grad()
def test_a_folded_norm_turns_what_is_left_of_the_stream_into_queries_and_keys(family):
    """Queries are the stream over its size, through folded weights, but for a constant: the norm's bias and W_Q's."""
    model = tiny_model(family)
    with reading(model, model.sites) as values:
        model.module(**model.encode(example_input(family)))
    for stack in model.stacks:
        for name in stack.attentions:
            at, full = f"{stack.prefix}.1", f"{stack.prefix}.{name}"
            weights = head_weights(model, full, 1, fold_norm=True)
            crossed = name == "cross_attn"
            asks = values[f"{at}.{'resid_mid' if crossed else 'resid_pre'}"]
            reads = values["encoder_blocks.1.resid_post"] if crossed else asks
            norm = model.norms(1, stack.prefix)["norm1"]
            for part, x, w in (("q", asks, weights.q), ("k", reads, weights.k), ("v", reads, weights.v)):
                size = (
                    x.std(-1, correction=0, keepdim=True) if norm.centred else x.square().mean(-1, keepdim=True).sqrt()
                )
                found = torch.einsum("bpm,hmd->bphd", x / size, w)
                real = functional.repeat_kv(values[f"{at}.{name}.{part}"], len(w), dim=2)
                left = real - found
                torch.testing.assert_close(left, left.mean(1, keepdim=True).expand_as(left), rtol=1e-3, atol=1e-3)
                assert x.shape[1] == 1 or (found - found.mean(1, keepdim=True)).abs().max() > 0.01


def test_there_is_nothing_to_fold_after_a_sum():
    with pytest.raises(BadInput, match="no norm to fold"):
        workbench.qk_weights(tiny_model("bert"), fold_norm=True)


def test_what_products_leave_out_is_said():
    said = " ".join(caveats(tiny_model("llama"), None, biased=False))
    assert "rank 4 at most" in said and "up to 64 positions" in said and "distance 0" in said and "Each 2 heads" in said
    said = " ".join(workbench.qk_weights(tiny_model("bert")).notes)
    assert "bias" in said and "Rotary" not in said and "share" not in said
    assert "bias" not in " ".join(workbench.qk_weights(tiny_model("t5")).notes)


def test_norms_of_queries_and_keys_are_said():
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.Qwen3Config(**sizes, intermediate_size=32, vocab_size=98, head_dim=8)
    model = workbench.adapt(transformers.Qwen3ForCausalLM(config).eval())
    assert any("norms of their own" in note for note in workbench.qk_weights(model).notes)


def test_a_picture_of_a_product_is_its_entries():
    model = tiny_model("gpt2")
    attention = model.module.transformer.h[1].attn
    q, k, v = attention.c_attn.weight.detach().split(16, 1)
    found = product_picture(model, None, 1, 1, size=99)
    torch.testing.assert_close(found, q[:, 8:] @ k[:, 8:].T, rtol=1e-4, atol=1e-5)
    found = product_picture(model, None, 1, 1, of="vo", size=4)
    full = (v[:, 8:] @ attention.c_proj.weight.detach()[8:]).view(4, 4, 4, 4).mean((1, 3))
    torch.testing.assert_close(found, full, rtol=1e-4, atol=1e-5)


def test_spectra_are_shares_beside_the_median_head():
    found = workbench.qk_weights(tiny_model("gpt2"))
    frame = found.spectrum_frame(0, 1)
    mine = frame[(frame["product"] == PRODUCTS["vo"]) & (frame["of"] == "head")]
    values = found.singular_values[0, 1, 1]
    np.testing.assert_allclose(mine["value"], values / values[0], rtol=1e-6)
    assert len(frame) == 2 * 2 * 8 and len(found.spectrum_figure(0, 1).data) == 4


def test_numbers_and_heads_that_are_not_there_are_said():
    model = tiny_model("gpt2")
    found = workbench.qk_weights(model)
    assert found.figure(of="qk_rank") and found.figure(of="vo_size")
    for ask in (lambda: found.figure(of="mood"), lambda: found.score("mood")):
        with pytest.raises(UnknownName, match=r"'mood'.*qk_identity"):
            ask()
    for layer, head, says in (
        (9, 9, "no layer 9: there are 2, 0 to 1"),
        (-1, 0, "no layer -1"),
        (0, 2, "no head 2: there are 2, 0 to 1"),
    ):
        with pytest.raises(BadInput, match=says):
            found.spectrum_frame(layer, head)
    with pytest.raises(BadInput, match="no head 2"):
        product_picture(model, None, 0, 2)
