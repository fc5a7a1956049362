"""`adapt`: any module in memory, by its row, by structure, or refused with the paths that lack."""

import copy

import pytest
import torch
import transformers
from torch import nn

from workbench.errors import BadInput, MissingCapability, MissingSite, UnknownName, UnsupportedModel
from workbench.hooks import editing, reading
from workbench.models.adapters import adapt
from workbench.models.architectures import Architecture, AttentionRow, Stack
from workbench.models.checks import check, main_output
from workbench.models.micro.characters import CharacterTokenizer
from workbench.testing import FAMILIES, example_input, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_adapting_leaves_the_module_as_it_was(family):
    model = tiny_model(family)
    module, batch = model.module, model.encode(example_input(family))
    keys, state = list(module.state_dict()), copy.deepcopy(module.state_dict())
    implementation = getattr(getattr(module, "config", None), "_attn_implementation", None)
    with torch.no_grad():
        before = main_output(module(**batch))
    row = "attention_only" if family == "micro" else None
    again = adapt(module, model.processor, row)
    assert set(again.sites) == set(model.sites)
    with torch.no_grad(), reading(again, again.sites):
        module(**batch)
    assert list(module.state_dict()) == keys
    assert all(torch.equal(module.state_dict()[key], state[key]) for key in keys)
    assert getattr(getattr(module, "config", None), "_attn_implementation", None) == implementation
    with torch.no_grad():
        torch.testing.assert_close(main_output(module(**batch)), before, rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tiny_family_passes_its_load_time_checks(family):
    failed = [c for c in check(tiny_model(family)) if c.passed is False]
    assert not failed


class Mixer(nn.Module):
    """Somebody's own attention: one fused projection, and hook points of their own naming."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.weights = nn.Linear(12, 36), nn.Linear(12, 12), nn.Identity()

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (2, 3, 6)).unbind(-2)  # (batch, pos, head, d_head)
        pattern = self.weights(torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1))
        return self.out(torch.einsum("bhqk,bkhd->bqhd", pattern, v).flatten(-2))


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.layers = nn.Embedding(98, 12), nn.ModuleList(Mixer() for _ in range(3))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 98)

    def forward(self, input_ids, attention_mask=None):
        x = self.tokens(input_ids)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(self.norm(x))


OWN = Architecture(
    stacks=(
        Stack(
            blocks="layers",
            places={
                "resid_pre": "<",
                "attn_out": "",
                "resid_post": "resid_pre + attn_out",
                "attn.q": "qkv | fused:0",
                "attn.k": "qkv | fused:1",
                "attn.v": "qkv | fused:2",
                "attn.pattern": "weights",
                "attn.z": "<out | heads",
            },
            attention={"attn": AttentionRow(module=None, o_proj="out")},
            embed="tokens",
            ln_final="norm",
            causal=False,
        ),
    ),
    readout=("norm", "head"),
    dims={"n_heads": 2, "d_model": 12, "d_head": 6},
)


def test_any_module_with_a_row_of_paths():
    module = Own().eval()
    model = adapt(module, CharacterTokenizer(), OWN, name="own")
    batch = model.encode("abcab")
    assert (model.n_blocks, model.n_heads, model.d_head) == (3, 2, 6)
    with torch.no_grad(), reading(model, model.sites) as values:
        logits = module(**batch)
    assert values["blocks.1.attn.q"].shape == (1, 6, 2, 6)
    z = torch.einsum("bhqk,bkhd->bqhd", values["blocks.1.attn.pattern"], values["blocks.1.attn.v"])
    torch.testing.assert_close(z, values["blocks.1.attn.z"])
    torch.testing.assert_close(model.readout(values["blocks.2.resid_post"]), logits)
    with torch.no_grad(), editing(model, {"blocks.1.attn.pattern": lambda p: torch.eye(6).expand_as(p)}):
        assert (module(**batch) - logits).abs().max() > 1e-4
    assert [c.name for c in check(model) if c.passed is False] == []


def test_a_family_without_a_row_is_found_by_structure():
    config = transformers.StableLmConfig(
        vocab_size=98, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, partial_rotary_factor=0.5, use_qkv_bias=True,
    )  # fmt: skip
    model = adapt(transformers.StableLmForCausalLM(config).eval(), CharacterTokenizer())
    assert model.family == "stablelm" and "laid out like llama's" in model.info["architecture"]
    assert [c for c in check(model) if c.passed is False] == []


def test_a_row_that_is_wrong_fails_its_checks():
    """Granite scales what its parts add: same module names as LLaMA, other meaning. The checks say so."""
    config = transformers.GraniteConfig(
        vocab_size=98, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, residual_multiplier=0.5, logits_scaling=2.0,
    )  # fmt: skip
    model = adapt(transformers.GraniteForCausalLM(config).eval(), CharacterTokenizer(), "llama")
    failed = {c.name for c in check(model) if c.passed is False}
    assert failed == {"blocks add up", "trained head", "maps as numbers"}


def test_gemma_norms_multiply_by_one_plus_weight():
    config = transformers.GemmaConfig(
        vocab_size=98, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, head_dim=8,
        num_key_value_heads=1, pad_token_id=0,
    )  # fmt: skip
    module = transformers.GemmaForCausalLM(config).eval()
    with torch.no_grad():
        module.model.norm.weight.uniform_(0.2, 0.8)
    model = adapt(module, CharacterTokenizer())
    assert [c for c in check(model) if c.passed is False] == []
    llama = adapt(module, CharacterTokenizer(), "llama")  # the same paths, without the one
    assert {c.name for c in check(llama) if c.passed is False} == {"trained head", "maps as numbers"}


def test_bare_base_models_have_no_readout():
    model = tiny_model("bert")
    bare = adapt(model.module.bert, model.processor)
    assert bare.info["readout"] == "no language-model head" and "readout" not in bare.capabilities
    with pytest.raises(MissingCapability, match="cannot be read out: no language-model head"):
        bare.readout(torch.zeros(1, 1, 16))
    with pytest.raises(MissingCapability, match="gives states only"):
        bare.logits(bare.encode("abc"))


def test_a_head_that_is_not_trained_is_never_a_readout():
    model = tiny_model("bert")
    half = adapt(model.module, model.processor, untrained=["cls.predictions.transform.dense.weight"])
    assert "readout" not in half.capabilities and "not trained" in half.info["readout"]
    whole = adapt(model.module, model.processor, untrained=["bert.pooler.dense.weight"])
    assert "readout" in whole.capabilities


def test_nan_weights_are_reported():
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.module.transformer.h[1].mlp.c_fc.bias[3] = float("nan")
    weights = next(c for c in check(model) if c.name == "weights")
    assert weights.passed is False and "transformer.h.1.mlp.c_fc.bias" in weights.detail


def test_learned_sinks_are_refused_not_ignored():
    config = transformers.GptOssConfig(
        vocab_size=98, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, head_dim=8,
        num_key_value_heads=1, num_local_experts=2, num_experts_per_tok=1, pad_token_id=0,
    )  # fmt: skip
    module = transformers.GptOssForCausalLM(config).eval()
    try:
        model = adapt(module, CharacterTokenizer(), OWN_SINKS)
    except UnsupportedModel:
        pytest.fail("its stream has a plain layout")
    with pytest.raises(UnsupportedModel, match="learned attention sinks"), torch.no_grad():  # noqa: SIM117
        with reading(model, ["blocks.0.attn.pattern"]):
            module(**model.encode("abc"))
    with torch.no_grad(), reading(model, ["blocks.0.resid_post"]) as values:
        module(**model.encode("abc"))
    assert values["blocks.0.resid_post"].shape == (1, 4, 16)


OWN_SINKS = Architecture(
    stacks=(
        Stack(
            blocks="layers",
            places={"resid_pre": "<", "attn_out": "self_attn", "mlp_out": "mlp", "resid_post": ""},
            attention={"attn": AttentionRow(module="self_attn", o_proj="self_attn.o_proj", rotary=True)},
        ),
    )
)


def test_says_what_is_wrong():
    with pytest.raises(UnsupportedModel, match=r"No architecture row fits Sequential.*Give adapt\(\)"):
        adapt(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UnsupportedModel, match="takes a torch module, not str"):
        adapt("gpt2")
    with pytest.raises(BadInput, match="the name of a row or an Architecture, not int"):
        adapt(tiny_model("gpt2").module, architecture=5)
    with pytest.raises(UnknownName, match="architecture called 'gtp2'.*Did you mean 'gpt2'"):
        adapt(tiny_model("gpt2").module, architecture="gtp2")
    with pytest.raises(UnsupportedModel, match="does not fit its architecture row: it has no module .*h"):
        adapt(tiny_model("llama").module, architecture="gpt2")
    model = adapt(tiny_model("gpt2").module)
    with pytest.raises(BadInput, match="adapted without a tokenizer"):
        model.encode("abc")
    with pytest.raises(MissingSite):
        model.site("blocks.9.attn.q")


SIZES = {
    "vocab_size": 98, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "more", "withdrawn"),
    [
        (
            "Granite",
            {"residual_multiplier": 0.5, "logits_scaling": 2.0},
            {"readout", "direct-logits", "attn_out", "norms", "decomposition"},
        ),
        ("Cohere", {"logit_scale": 0.0625}, {"readout", "direct-logits", "norms", "decomposition"}),
        ("Olmo2", {}, {"direct-logits", "attn_out", "norms", "decomposition"}),
        ("Gemma2", {"head_dim": 8}, {"readout", "direct-logits", "norms", "decomposition"}),
    ],
)
def test_what_a_guessed_row_gets_wrong_is_withdrawn_when_adapting(name, more, withdrawn):
    """No analysis may be given numbers that the guess gets wrong: what remains passes every check."""
    config = getattr(transformers, f"{name}Config")(**SIZES, **more)
    torch.manual_seed(0)
    module = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model = adapt(module, CharacterTokenizer())
    assert not withdrawn & model.capabilities
    assert "but " in model.info["architecture"]
    assert {c.name for c in check(model) if c.passed is False} == set()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("Phi", {"num_key_value_heads": 2}),
        ("OPT", {"ffn_dim": 32, "word_embed_proj_dim": 16, "max_position_embeddings": 64}),
        ("Qwen3", {"head_dim": 8}),
        ("Mistral", {}),
    ],
)
def test_more_decoders_pass_every_check(name, more):
    sizes = {
        k: v for k, v in SIZES.items() if not (name == "OPT" and k in ("intermediate_size", "num_key_value_heads"))
    }
    config = getattr(transformers, f"{name}Config")(**(sizes | more))
    torch.manual_seed(0)
    model = adapt(getattr(transformers, f"{name}ForCausalLM")(config).eval(), CharacterTokenizer())
    assert {"pattern", "qk", "z", "readout", "direct-logits"} <= model.capabilities
    assert [c for c in check(model, thorough=True) if c.passed is False] == []


def test_attention_that_cannot_be_seen_is_no_capability():
    config = transformers.DebertaV2Config(
        **{k: v for k, v in SIZES.items() if k != "num_key_value_heads"}, max_position_embeddings=64
    )
    model = adapt(transformers.DebertaV2Model(config).eval(), CharacterTokenizer())
    assert "pattern" not in model.capabilities and "blocks.0.attn.pattern" not in model.sites
    assert "resid" in model.capabilities


@pytest.mark.parametrize("more", [{"num_hidden_groups": 2}, {"inner_group_num": 2}])
def test_albert_in_groups_is_refused(more):
    config = transformers.AlbertConfig(
        vocab_size=98, hidden_size=16, embedding_size=8, intermediate_size=32, num_hidden_layers=4,
        num_attention_heads=2, **more,
    )  # fmt: skip
    with pytest.raises(UnsupportedModel, match="shares its layers in groups"):
        adapt(transformers.AlbertModel(config).eval(), CharacterTokenizer())


def test_mt5_reads_its_last_state_unscaled():
    config = transformers.MT5Config(
        vocab_size=98, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    )
    model = adapt(transformers.MT5ForConditionalGeneration(config).eval(), CharacterTokenizer())
    assert {c.name for c in check(model) if c.passed is False} == set()


@pytest.mark.parametrize("kind", ["ForMaskedLM", "ForSequenceClassification"])
def test_roberta_with_norms_before_its_parts(kind):
    """By structure it looks like BERT, whose norms follow; its head is dense, activation, norm and linear map."""
    sizes = {"vocab_size": 98, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.RobertaPreLayerNormConfig(**sizes, intermediate_size=32, pad_token_id=0)
    model = adapt(getattr(transformers, f"RobertaPreLayerNorm{kind}")(config).eval(), CharacterTokenizer())
    assert all(one.passed is not False for one in check(model, thorough=True))
    assert {"norms", "logits", "pattern"} <= model.capabilities and "direct-logits" not in model.capabilities
