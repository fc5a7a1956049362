"""One head in detail: what recombines exactly, for every family, and against the weights by hand."""

import pytest
import torch

import workbench
from workbench.hooks import reading
from workbench.testing import FAMILIES, example_input, tiny_model

FAMILIES = [f for f in FAMILIES if f not in ("mamba", "micro")]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_score_is_the_sum_of_its_terms_and_bias(family):
    model = tiny_model(family)
    name = model.attentions[0]
    result = workbench.head(model, example_input(family), attention=name, layer=1, head=1, query=-1, key=0)
    with torch.no_grad(), reading(model, [f"{name.replace('.', '.1.')}.attn_scores"]) as values:
        model.module(**model.encode(example_input(family)))
    (scores,) = values.values()
    assert result.score == scores[0, 1, -1, 0].item()
    assert result.terms.sum().item() + result.bias == pytest.approx(result.score, abs=1e-6)
    if family != "t5":  # only T5's scores have a position bias
        assert abs(result.bias) < 1e-6
        torch.testing.assert_close(result.terms, result.q * result.k * len(result.q) ** -0.5, rtol=1e-4, atol=1e-7)


def test_t5_has_no_scale_and_its_position_bias_is_told_apart():
    model = tiny_model("t5")
    result = workbench.head(model, "abcabc", attention="encoder_blocks.attn", layer=0, head=1, query=4, key=1)
    torch.testing.assert_close(result.terms, result.q * result.k, rtol=1e-4, atol=1e-6)
    attention = model.module.encoder.block[0].layer[0].SelfAttention
    assert result.bias == pytest.approx(attention.compute_bias(6, 6)[0, 1, 4, 1].item(), abs=1e-5)


def test_a_key_behind_the_mask_has_no_score():
    result = workbench.head(tiny_model("gpt2"), "abcabc", query=1, key=4)
    assert result.score is None and result.pattern[1, 4] == 0


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "vit", "dinov2", "albert", "t5", "whisper"])
def test_contributions_of_all_sources_and_heads_recombine_to_what_attention_adds(double, family):
    """Sum over heads of pattern @ (v W_O), plus the bias, is attn_out; and each term's length is the weighted cell."""
    model, text = double(family)
    name, at = model.attention(None)[0].prefix, model.attention(None)[1]
    sites = [f"{name}.1.{at}.v", f"{name}.1.attn_out"]
    with torch.no_grad(), reading(model, sites) as values:
        model.module(**model.encode(text))
    w_o, bias = model.output_map(None, 1)
    v, total = values[sites[0]][0], bias
    for number in range(model.n_heads):
        head = workbench.head(model, text, layer=1, head=number)
        vectors = v[:, head.kv_head] @ w_o[number]  # (key, d_model)
        pieces = head.pattern[:, :, None] * vectors  # (query, key, d_model)
        torch.testing.assert_close(head.weighted, pieces.norm(dim=-1), rtol=1e-10, atol=1e-12)
        total = total + pieces.sum(1)
    torch.testing.assert_close(total, values[sites[1]][0], rtol=1e-6, atol=1e-6)


def test_the_output_map_by_hand_for_gpt2():
    model = tiny_model("gpt2")
    result = workbench.head(model, "abcabc", layer=0, head=1)
    block = model.module.transformer.h[0]
    with torch.no_grad():
        x = block.ln_1(model.module.transformer(**model.encode("abcabc"), output_hidden_states=True).hidden_states[0])[
            0
        ]
        v = (x @ block.attn.c_attn.weight + block.attn.c_attn.bias)[:, 32:][:, 8:16]  # the second of two heads of 8
        vectors = v @ block.attn.c_proj.weight[8:16]
    torch.testing.assert_close(result.weighted, result.pattern * vectors.norm(dim=-1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "whisper", "vit"])  # the last has a biased unembedding
def test_promoted_and_suppressed_tokens_are_the_extremes_of_the_heads_direct_effect(double, family):
    """Against the residual analysis, which splits one logit at a time by head."""
    model, text = double(family)
    result = workbench.head(model, text, layer=1, head=1, top_k=3)
    last = len(result.queries) - 1
    part = f"{model.main.prefix}.1.{model.main.attentions[0]}.z:1"
    direct = {}
    for token in [*result.promoted_tokens[last], *result.suppressed_tokens[last]]:
        split = workbench.residual(model, text, token=token, position=last, heads=True)
        direct[token] = split.contributions[split.parts.index(part)].item()
    for tokens, logits in (
        (result.promoted_tokens[last], result.promoted[last]),
        (result.suppressed_tokens[last], result.suppressed[last]),
    ):
        assert [direct[t] for t in tokens] == pytest.approx(logits.tolist(), rel=1e-4, abs=1e-6)
    assert result.promoted[last].tolist() == sorted(result.promoted[last].tolist(), reverse=True)
    assert result.suppressed[last].tolist() == sorted(result.suppressed[last].tolist())


def test_nothing_in_the_vocabulary_is_promoted_more():
    model = tiny_model("gpt2")
    everything = workbench.head(model, "abcabc", layer=1, top_k=50)
    few = workbench.head(model, "abcabc", layer=1, top_k=2)
    assert torch.equal(few.promoted, everything.promoted[:, :2])
    assert few.promoted.min() > everything.promoted[:, 2:].max(dim=1).values.min()


@pytest.mark.parametrize("family", ["bert", "dinov2", "bart"])
def test_without_a_direct_readout_the_tokens_are_absent_and_it_says_why(family):
    result = workbench.head(tiny_model(family), example_input(family))
    assert result.promoted is None and result.promoted_tokens is None
    assert result.weighted is not None
    assert result.tokens_frame().empty
    assert "No promoted tokens" in result.notes[0]


def test_an_encoders_head_does_not_write_into_the_decoders_stream():
    result = workbench.head(tiny_model("t5"), "abcabc", attention="encoder_blocks.attn")
    assert result.promoted is None and "does not write" in result.notes[0]


def test_positions_and_heads_out_of_range_are_refused():
    model = tiny_model("gpt2")
    with pytest.raises(workbench.BadInput, match="position 99"):
        workbench.head(model, "abc", query=99)
    with pytest.raises(workbench.BadInput, match="head must be from 0 to 1"):
        workbench.head(model, "abc", head=7)


def test_frames():
    result = workbench.head(tiny_model("llama"), "abcabc", layer=1, head=3, top_k=4)
    assert result.kv_head == 1
    assert list(result.to_frame()) == ["query", "key", "query_token", "key_token", "attention", "weighted"]
    assert len(result.tokens_frame()) == 2 * 4 * len(result.queries)
    qk = result.qk_frame()
    assert qk["sum"].iloc[-1] + result.bias == pytest.approx(result.score, abs=1e-6)
