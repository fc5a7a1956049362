"""What a model's modules do as numbers: norms, values, MLPs and heads, each against what its own modules put out."""

import pytest
import torch

from workbench.errors import MissingCapability
from workbench.hooks import reading
from workbench.models.adapters import adapt
from workbench.models.linear_maps import LinearMap, Norm, linear_map, norm_numbers
from workbench.models.sites import layout
from workbench.testing import FAMILIES, example_input, tiny_model

SIZES = {"vocab_size": 98, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
MAPPED = [f for f in FAMILIES if f not in ("mamba", "ast")]


def with_noise(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def more(name):
    """Families that have a row and no tiny model of their own."""
    import transformers as t

    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    made = {
        "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**SIZES, **ids, num_key_value_heads=1, head_dim=8)),
        "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**SIZES, **ids, num_key_value_heads=1)),
        "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**SIZES, **ids, num_key_value_heads=1)),
        "phi": lambda: t.PhiForCausalLM(t.PhiConfig(**SIZES, **ids)),
        "opt": lambda: t.OPTForCausalLM(
            t.OPTConfig(**{**SIZES, "ffn_dim": 32}, **ids, word_embed_proj_dim=16, max_position_embeddings=64)
        ),
        "neox_sequential": lambda: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**SIZES, **ids, use_parallel_residual=False)),
        "mt5": lambda: t.MT5ForConditionalGeneration(
            t.MT5Config(**ids, vocab_size=98, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
                        decoder_start_token_id=0)
        ),
        "bert_classifier": lambda: t.BertForSequenceClassification(t.BertConfig(**SIZES, num_labels=3)),
        "roberta_classifier": lambda: t.RobertaForSequenceClassification(t.RobertaConfig(**SIZES, num_labels=3)),
        "distilbert_classifier": lambda: t.DistilBertForSequenceClassification(
            t.DistilBertConfig(vocab_size=98, dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=3)
        ),
        "electra_classifier": lambda: t.ElectraForSequenceClassification(
            t.ElectraConfig(**SIZES, embedding_size=8, num_labels=3)
        ),
        "albert_classifier": lambda: t.AlbertForSequenceClassification(
            t.AlbertConfig(**SIZES, embedding_size=8, num_labels=3)
        ),
        "gpt2_classifier": lambda: t.GPT2ForSequenceClassification(
            t.GPT2Config(**ids, vocab_size=98, n_layer=2, n_head=2, n_embd=16, num_labels=3)
        ),
        "llama_classifier": lambda: t.LlamaForSequenceClassification(t.LlamaConfig(**SIZES, **ids, num_labels=3)),
        "deit": lambda: t.DeiTForImageClassification(
            t.DeiTConfig(**{k: v for k, v in SIZES.items() if k != "vocab_size"}, image_size=16, patch_size=8,
                         num_labels=5)
        ),
    }  # fmt: skip
    torch.manual_seed(1)
    return adapt(with_noise(made[name]()))


MORE = ["gemma", "qwen2", "mistral", "phi", "opt", "neox_sequential", "mt5", "deit", "gpt2_classifier",
        "llama_classifier", "bert_classifier", "roberta_classifier", "distilbert_classifier", "electra_classifier",
        "albert_classifier"]  # fmt: skip


def model_and_batch(name):
    if name in FAMILIES:
        model = tiny_model(name)
        return model, model.encode(example_input(name))
    model, ids = more(name), torch.arange(3, 10)[None]
    if name == "deit":
        return model, {"pixel_values": torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))}
    return model, {"input_ids": ids, "decoder_input_ids": ids[:, :4]} if name == "mt5" else {"input_ids": ids}


def read_all(model, batch):
    with torch.no_grad(), reading(model, model.sites) as values:
        output = model.module(**batch)
    return values, output


def through(norm, x):
    """A norm in the words of its papers."""
    if norm.centred:
        scale = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
        return (x - x.mean(-1, keepdim=True)) / scale * norm.weight + (0 if norm.bias is None else norm.bias)
    return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight


def applied(linear, x):
    return x @ linear.weight + (0 if linear.bias is None else linear.bias)


CLOSE = {"rtol": 1e-5, "atol": 2e-5}


@pytest.mark.parametrize("name", [*MAPPED, *MORE])
@torch.no_grad()
def test_every_part_of_a_block_follows_from_its_numbers(name):
    model, batch = model_and_batch(name)
    assert {"norms", "decomposition"} <= model.capabilities
    values, _ = read_all(model, batch)
    memory = None
    for stack in model.stacks:
        row = stack.row
        for i in range(stack.n_blocks):
            v = {site.removeprefix(f"{stack.prefix}.{i}."): x for site, x in values.items()}
            norms, mlp = model.norms(i, stack.prefix), model.mlp_map(i, stack.prefix)
            reads = v["resid_pre"] if row.order == "post" else through(norms["norm1"], v["resid_pre"])
            if "cross_attn" in row.attention:
                w_v, b_v = model.value_map(f"{stack.prefix}.cross_attn", i)
                found = torch.einsum("bpm,mhd->bphd", memory, w_v) + b_v
                torch.testing.assert_close(found, v["cross_attn.v"], **CLOSE)
            w_v, b_v = model.value_map(f"{stack.prefix}.{stack.attentions[0]}", i)
            found = torch.einsum("bpm,mhd->bphd", reads, w_v) + b_v
            torch.testing.assert_close(found, v[f"{stack.attentions[0]}.v"], **CLOSE)
            if mlp is None:
                assert name == "micro"
                continue
            middle = v.get("resid_mid_cross", v["resid_mid"] if "resid_mid" in v else v["resid_pre"])
            if row.order != "post":
                middle = through(norms.get("norm2", norms["norm1"]), middle)
            hidden = mlp.activation(applied(mlp.inner, middle))
            if mlp.linear is not None:
                hidden = hidden * applied(mlp.linear, middle)
            post, out = (v[part].view(*hidden.shape[:-1], -1) for part in ("mlp.post", "mlp_out"))  # OPT's lie flat
            torch.testing.assert_close(hidden, post, **CLOSE)
            torch.testing.assert_close(applied(mlp.outer, hidden), out, **CLOSE)
        memory, last = v["resid_post"], model.last_norm(stack.prefix)
        if last is not None:
            memory = through(last, memory)
            torch.testing.assert_close(memory, values[f"{row.lead}ln_final"], **CLOSE)


@pytest.mark.parametrize("name", [*(f for f in MAPPED if f not in ("dinov2", "clip")), *MORE])
def test_the_head_step_by_step_gives_the_answers(name):
    model, batch = model_and_batch(name)
    if model.architecture.bias is not None:
        model.module.get_buffer(model.architecture.bias).normal_()
    values, output = read_all(model, batch)
    state = values[model.stream("resid_post")[-1]]
    answers = [2, 0, 1]
    steps = model.head_maps(answers)
    assert isinstance(steps[-1], LinearMap) and steps[-1].weight.shape[1] == 3
    for step in steps:
        state = through(step, state) if isinstance(step, Norm) else (
            applied(step, state) if isinstance(step, LinearMap) else step(state))  # fmt: skip
    logits = output.logits
    if logits.ndim == 2:
        state = state[:, -1] if model.main.causal else state[:, 0]
    torch.testing.assert_close(state, logits[..., answers], **CLOSE)


def test_the_scale_of_a_layer_belongs_to_its_maps():
    model = tiny_model("dinov2")
    block = model.module.encoder.layer[1]
    weight = block.attention.o_proj.weight * block.layer_scale1.lambda1[:, None]
    w_o, bias = model.output_map(None, 1)
    torch.testing.assert_close(w_o.flatten(0, 1), weight.T)
    torch.testing.assert_close(bias, block.attention.o_proj.bias * block.layer_scale1.lambda1)


class Wrapped(torch.nn.Module):
    """A linear module whose weights do not lie open."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_maps_of_closed_modules_are_found_by_unit_vectors():
    torch.manual_seed(0)
    inner = torch.nn.Linear(5, 3)
    shown, found = linear_map(inner, 5, inner.weight), linear_map(Wrapped(inner), 5, inner.weight)
    torch.testing.assert_close(found.weight, shown.weight, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.bias, shown.bias)
    assert linear_map(Wrapped(torch.nn.Linear(5, 3, bias=False)), 5, inner.weight).bias is None


def test_what_is_no_plain_norm_has_no_numbers():
    assert norm_numbers(torch.nn.Linear(3, 3)) is None
    assert norm_numbers(torch.nn.Identity()) is None
    assert norm_numbers(torch.nn.LayerNorm(3, elementwise_affine=False)) is None
    found = norm_numbers(torch.nn.RMSNorm(3, eps=1e-3), offset=1.0)
    assert found is not None and not found.centred and found.eps == 1e-3 and found.weight.tolist() == [2, 2, 2]


def test_thirds_are_put_back_where_they_were():
    raw = torch.randn(2, 5, 3 * 4 * 6)
    for part in range(3):
        cut = layout(f"thirds:{part}", 6)
        view = cut.view(raw)
        assert torch.equal(view, raw[..., part * 24 : part * 24 + 24].unflatten(-1, (4, 6)))
        new = cut.put(raw, view * 2)
        assert torch.equal(cut.view(new), view * 2)
        others = [p for p in range(3) if p != part]
        assert all(torch.equal(layout(f"thirds:{p}", 6).view(new), layout(f"thirds:{p}", 6).view(raw)) for p in others)


@pytest.mark.parametrize("family", ["mamba"])
def test_models_without_known_maps_say_so(family):
    model = tiny_model(family)
    assert not {"norms", "decomposition"} & model.capabilities
    with pytest.raises(MissingCapability, match="not known as numbers"):
        model.norms(0)


def test_a_head_of_many_steps_is_not_taken_for_one():
    """BERT with two heads answers with the first, whose steps are known; a token classifier's are not."""
    import transformers as t

    model = adapt(t.BertForTokenClassification(t.BertConfig(**SIZES)).eval())
    assert "decomposition" in model.capabilities and "logits" not in model.capabilities
    assert "decomposition" not in tiny_model("ast").capabilities
