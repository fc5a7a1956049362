"""Every site holds what its name says: against plain transformers outputs, plain modules, and TransformerBridge."""

import copy

import pytest
import torch

from workbench.hooks import reading
from workbench.models.adapters import adapt
from workbench.testing import FAMILIES, example_input, tiny_model

TEXT = ["gpt2", "llama", "neox", "bert", "roberta", "distilbert", "electra", "albert"]
ATTENTIVE = [family for family in FAMILIES if family not in ("mamba", "micro")]


def read_all(model, batch):
    with torch.no_grad(), reading(model, model.sites) as values:
        model.module(**batch)
    return values


def eager_outputs(model, batch):
    """What transformers itself gives with eager attention, on a copy that the workbench never touched."""
    module = copy.deepcopy(model.module)
    module.set_attn_implementation("eager")
    with torch.no_grad():
        return module(**batch, output_attentions=True, output_hidden_states=True)


@pytest.mark.parametrize("family", ATTENTIVE)
def test_patterns_equal_transformers_own(family):
    model = tiny_model(family)
    batch = model.encode(example_input(family))
    values, plain = read_all(model, batch), eager_outputs(model, batch)
    if family == "clip":
        groups = {"text_blocks.attn": plain.text_model_output, "vision_blocks.attn": plain.vision_model_output}
        pairs = [(name, out.attentions) for name, out in groups.items()]
    elif model.main.side == "target":
        pairs = [
            ("encoder_blocks.attn", plain.encoder_attentions),
            ("decoder_blocks.self_attn", plain.decoder_attentions),
            ("decoder_blocks.cross_attn", plain.cross_attentions),
        ]
    else:
        pairs = [("blocks.attn", plain.attentions)]
    assert len(pairs) == len(model.attentions)
    for name, expected in pairs:
        for site, pattern in zip(model.attention_sites(name, "pattern"), expected, strict=True):
            torch.testing.assert_close(values[site], pattern, rtol=0, atol=1e-6)


STREAMS = {  # what transformers' hidden_states are, in the workbench's names; entries mean different things per family
    "gpt2": ["blocks.0.resid_pre", "blocks.0.resid_post", "ln_final"],
    "llama": ["blocks.0.resid_pre", "blocks.0.resid_post", "ln_final"],
    "neox": ["blocks.0.resid_pre", "blocks.0.resid_post", "ln_final"],
    "bert": ["blocks.0.resid_pre", "blocks.0.resid_post", "blocks.1.resid_post"],
    "roberta": ["blocks.0.resid_pre", "blocks.0.resid_post", "blocks.1.resid_post"],
    "distilbert": ["blocks.0.resid_pre", "blocks.0.resid_post", "blocks.1.resid_post"],
    "electra": ["blocks.0.resid_pre", "blocks.0.resid_post", "blocks.1.resid_post"],
    "albert": ["blocks.0.resid_pre", "blocks.0.resid_post", "blocks.1.resid_post"],
}


@pytest.mark.parametrize("family", STREAMS)
def test_stream_equals_hidden_states(family):
    model = tiny_model(family)
    batch = model.encode("abcabcab")
    values, plain = read_all(model, batch), eager_outputs(model, batch)
    assert len(plain.hidden_states) == 3
    for site, state in zip(STREAMS[family], plain.hidden_states, strict=True):
        torch.testing.assert_close(values[site], state, rtol=0, atol=1e-6, msg=site)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_add_up(family):
    """resid_post = resid_pre + parts, through the family's own norms, written out by hand."""
    model = tiny_model(family)
    values = read_all(model, model.encode(example_input(family)))
    for stack in model.stacks:
        for i, path in enumerate(stack.paths):
            v = {s.removeprefix(f"{stack.prefix}.{i}."): x for s, x in values.items() if f"{stack.prefix}.{i}." in s}
            block = model.module.get_submodule(path)
            parts = [v[p] for p in ("attn_out", "cross_attn_out", "mlp_out", "mixer.out") if p in v]
            if family in ("bert", "roberta", "electra"):
                mid = block.attention.output.LayerNorm(v["resid_pre"] + v["attn_out"])
                post = block.output.LayerNorm(mid + v["mlp_out"])
            elif family == "distilbert":
                mid = block.sa_layer_norm(v["resid_pre"] + v["attn_out"])
                post = block.output_layer_norm(mid + v["mlp_out"])
            elif family == "albert":
                mid = block.attention.LayerNorm(v["resid_pre"] + v["attn_out"])
                post = block.full_layer_layer_norm(mid + v["mlp_out"])
            elif family == "bart":
                mid = block.self_attn_layer_norm(v["resid_pre"] + v["attn_out"])
                inner = block.encoder_attn_layer_norm(mid + v["cross_attn_out"]) if "cross_attn_out" in v else mid
                post = block.final_layer_norm(inner + v["mlp_out"])
            else:
                mid, post = v["resid_pre"] + parts[0], v["resid_pre"] + sum(parts)
            torch.testing.assert_close(post, v["resid_post"], rtol=0, atol=2e-6)
            if "resid_mid" in v:
                torch.testing.assert_close(mid, v["resid_mid"], rtol=0, atol=1e-6)
            else:
                assert family in ("neox", "mamba", "micro")  # parallel, or one part only
            if i:
                torch.testing.assert_close(v["resid_pre"], values[f"{stack.prefix}.{i - 1}.resid_post"], rtol=0, atol=0)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "mamba"])
def test_attention_follows_from_its_parts(family):
    """Pattern = softmax(scores), z = pattern v, attn_out = z W_O + b: a slow plain computation, head by head."""
    model = tiny_model(family)
    values = read_all(model, model.encode(example_input(family)))
    for name in model.attentions:
        stack, short = model.attention(name)
        for i in range(stack.n_blocks):
            part = {p: values[f"{stack.prefix}.{i}.{short}.{p}"] for p in ("v", "attn_scores", "pattern", "z")}
            torch.testing.assert_close(part["attn_scores"].softmax(-1), part["pattern"], rtol=0, atol=1e-6)
            group = stack.sizes.n_heads // stack.sizes.n_kv_heads
            for head in range(stack.sizes.n_heads):
                expected = part["pattern"][:, head] @ part["v"][:, :, head // group]
                torch.testing.assert_close(part["z"][:, :, head], expected, rtol=0, atol=1e-5)
            weight, bias = model.output_map(name, i)
            out = torch.einsum("bphd,hdm->bpm", part["z"], weight) + bias
            added = values[f"{stack.prefix}.{i}.{stack.row.attention[short].writes}"]
            torch.testing.assert_close(out, added, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "mamba"])
def test_scores_are_scaled_dot_products(family):
    """Where a query may see a key, scores are q k / sqrt(d_head) (T5: unscaled, plus its position bias)."""
    model = tiny_model(family)
    values = read_all(model, model.encode(example_input(family)))
    for name in model.attentions:
        stack, short = model.attention(name)
        lead = f"{stack.prefix}.1.{short}."
        rotary = f"{lead}rot_q" in model.sites
        q, k = (values[lead + (f"rot_{p}" if rotary else p)] for p in "qk")
        k = k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)
        dots = torch.einsum("bqhd,bkhd->bhqk", q, k)
        scores = values[f"{lead}attn_scores"]
        seen = scores > -1e4
        if family == "t5":
            if short == "cross_attn":
                torch.testing.assert_close(scores[seen], dots[seen], rtol=0, atol=1e-5)
            else:  # the bias depends on the distance alone
                bias = scores - dots
                assert torch.allclose(bias[..., 1, 0], bias[..., 2, 1], atol=1e-5)
            continue
        torch.testing.assert_close(scores[seen], (dots * q.shape[-1] ** -0.5)[seen], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "neox"])
def test_rotary_embedding_turns_q_into_rot_q(family):
    model = tiny_model(family)
    values = read_all(model, model.encode("abcabcab"))
    rotary = model.module.base_model.rotary_emb
    q = values["blocks.0.attn.q"]
    cos, sin = rotary(q, torch.arange(q.shape[1])[None])
    width = cos.shape[-1]  # GPT-NeoX turns only a part of each head
    turned, rest = q[..., :width], q[..., width:]
    half = torch.cat([-turned[..., width // 2 :], turned[..., : width // 2]], -1)
    expected = torch.cat([turned * cos[:, :, None] + half * sin[:, :, None], rest], -1)
    torch.testing.assert_close(values["blocks.0.attn.rot_q"], expected, rtol=0, atol=1e-5)
    assert not torch.allclose(q, expected, atol=1e-3)


BRIDGES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "neox": "GPTNeoXForCausalLM",
    "bert": "BertForMaskedLM",
    "mamba": "MambaForCausalLM",
}


@pytest.mark.parametrize("family", BRIDGES)
@pytest.mark.filterwarnings("ignore")  # TransformerLens's own
def test_sites_equal_those_of_a_transformer_bridge(family):
    """Two engines, one set of names: values read through TransformerLens's hook points agree."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    model = tiny_model(family)
    copied = copy.deepcopy(model.module)
    bridge = build_bridge_from_module(copied, BRIDGES[family], hf_config=model.module.config, tokenizer=None)
    other = adapt(bridge, model.processor, name="bridge")
    values = read_all(model, model.encode("abcabcab"))
    theirs = read_all(other, other.encode("abcabcab"))
    shared = [site for site in other.sites if site in model.sites]
    assert len(shared) >= {"mamba": 8, "bert": 17}.get(family, 26)
    for site in shared:
        torch.testing.assert_close(theirs[site], values[site], rtol=0, atol=1e-5, msg=site)


@pytest.mark.parametrize("family", [f for f in FAMILIES if "readout" in tiny_model(f).capabilities])
def test_readout_of_the_last_state_is_the_output(family):
    model = tiny_model(family)
    batch = model.encode(example_input(family))
    values = read_all(model, batch)
    logits = model.logits(batch)
    again = model.readout(values[model.stream("resid_post")[-1]])[:, : logits.shape[1]]
    torch.testing.assert_close(again, logits, rtol=0, atol=2e-6)


def test_families_without_a_head_have_no_readout():
    without = {f for f in FAMILIES if "readout" not in tiny_model(f).capabilities}
    assert without == {"dinov2", "clip", "ast"}
