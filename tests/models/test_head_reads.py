"""W_Q, W_K and W_V as numbers: what they make of the stream is what each family's attention has at its sites."""

import pytest
import torch
from torch import nn

from workbench.errors import MissingCapability
from workbench.hooks import reading
from workbench.models.adapters import adapt
from workbench.models.checks import check
from workbench.models.replay import reads_gap, with_read_inputs
from workbench.testing import FAMILIES, example_input, tiny_model

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {**SIZES, "vocab_size": 98, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
MAPPED = [f for f in FAMILIES if f != "mamba"]
CLOSE = {"rtol": 1e-5, "atol": 2e-5}


def of(name, **config):
    """A random model of any transformers family."""
    import transformers

    torch.manual_seed(2)
    built = getattr(transformers, f"{name}Config")(**{**TEXT, **config})
    module = getattr(transformers, f"{name}ForCausalLM")(built).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return adapt(module)


@torch.no_grad()
def gap(model, batch):
    watched = with_read_inputs(model)
    with reading(watched, watched.sites) as values:
        model.module(**batch)
    return reads_gap(model, values)


def through(norm, x):
    """A norm in the words of its papers."""
    if norm is None:
        return x
    if norm.centred:
        scale = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
        return (x - x.mean(-1, keepdim=True)) / scale * norm.weight + (0 if norm.bias is None else norm.bias)
    return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight


@pytest.mark.parametrize("family", MAPPED)
@torch.no_grad()
def test_queries_and_keys_follow_from_the_normed_stream(family):
    """From the stream itself, through the block's norm and the maps, to the sites; nothing of the modules between."""
    model = tiny_model(family)
    assert "qk-maps" in model.capabilities and not model.normed_queries()
    with reading(model, model.sites) as values:
        model.module(**model.encode(example_input(family)))
    memory, compared = None, 0
    for stack in model.stacks:
        post = stack.row.order == "post"
        for i in range(stack.n_blocks):
            at, norms = f"{stack.prefix}.{i}", model.norms(i, stack.prefix)
            for name in stack.attentions:
                crossed = name == "cross_attn"
                stream = values[f"{at}.{'resid_mid' if crossed else 'resid_pre'}"]
                reads = stream if post else through(norms["norm_cross" if crossed else "norm1"], stream)
                for part, x, read in (
                    ("q", reads, model.query_map),
                    ("k", memory if crossed else reads, model.key_map),
                    ("v", memory if crossed else reads, model.value_map),
                ):
                    weight, bias = read(f"{stack.prefix}.{name}", i)
                    heads = stack.sizes.n_heads if part == "q" else stack.sizes.n_kv_heads
                    assert weight.shape == (stack.sizes.d_model, heads, stack.sizes.d_head)
                    found = torch.einsum("bpm,mhd->bphd", x, weight) + bias
                    torch.testing.assert_close(found, values[f"{at}.{name}.{part}"], **CLOSE)
                    compared += 1
        memory = through(model.last_norm(stack.prefix), values[f"{stack.prefix}.{stack.n_blocks - 1}.resid_post"])
    assert compared == 3 * sum(stack.n_blocks * len(stack.attentions) for stack in model.stacks)
    assert gap(model, model.encode(example_input(family))) < 1e-5


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "t5"])
@torch.no_grad()
def test_scores_of_maps_are_the_models_own(family):
    """Maps multiplied at one place, where rotary embedding turns nothing, is the score but for scale and bias."""
    model = tiny_model(family)
    with reading(model, model.sites) as values:
        model.module(**model.encode(example_input(family)))
    stack, name = model.main, f"{model.main.prefix}.{model.main.attentions[0]}"
    (w_q, b_q), (w_k, b_k) = model.query_map(name, 1), model.key_map(name, 1)
    x = through(model.norms(1)["norm1"], values[f"{stack.prefix}.1.resid_pre"])
    groups = model.n_heads // model.n_kv_heads
    q, k = (
        x @ w.transpose(0, 1) + b[:, None]
        for w, b in ((w_q, b_q), (w_k.repeat_interleave(groups, 1), b_k.repeat_interleave(groups, 0)))
    )
    scale = 1.0 if family == "t5" else model.d_head**-0.5
    own = (q * k).sum(-1) * scale  # (head, pos)
    scores = values[f"{stack.prefix}.1.{model.main.attentions[0]}.attn_scores"][0].diagonal(0, -2, -1)
    constant = scores - own  # T5's bias of distance 0, else 0
    torch.testing.assert_close(constant, constant[:, :1].expand_as(constant), **CLOSE)
    if family != "t5":
        torch.testing.assert_close(scores, own, **CLOSE)


def test_norms_between_maps_and_scores_are_told():
    assert of("Qwen3", num_key_value_heads=1, head_dim=8).normed_queries()
    assert of("Olmo2").normed_queries()
    assert of("Phi", qk_layernorm=True).normed_queries()
    assert not of("Phi").normed_queries()
    assert not of("Qwen2", num_key_value_heads=1).normed_queries()


@pytest.mark.parametrize("name", ["Qwen3", "Olmo2", "Gemma2", "Cohere"])
def test_families_found_by_structure_keep_maps_that_hold(name):
    model = of(name, **({"head_dim": 8} if name in ("Qwen3", "Gemma2") else {}), num_key_value_heads=1)
    assert "found by structure" in model.info["architecture"]
    assert "qk-maps" in model.capabilities
    assert gap(model, {"input_ids": torch.arange(3, 9)[None]}) < 1e-5


def test_maps_that_are_not_what_the_attention_has_are_withdrawn(monkeypatch):
    """A family laid out like GPT-2 whose one projection holds its parts in another order."""
    from workbench.models import checks, linear_maps

    seen = linear_maps.layout
    monkeypatch.setattr(linear_maps, "layout", lambda name, d: seen(name.replace("thirds:0", "thirds:1"), d))
    model = tiny_model("gpt2")
    assert gap(model, model.encode("abc")) > 0.1
    assert [c.name for c in check(model) if c.passed is False] == ["queries, keys and values as numbers"]
    assert "not what their linear maps say" in checks.mistrusted(model)[1]["qk-maps"]


class Wrapped(nn.Module):
    """A linear module whose weights do not lie open."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_closed_modules_are_read_by_unit_vectors():
    model = tiny_model("gpt2")
    exact = [read(None, 1) for read in (model.query_map, model.key_map, model.value_map)]
    for block in model.module.get_submodule("transformer.h"):
        block.attn.c_attn = Wrapped(block.attn.c_attn)
    again = adapt(model.module, model.processor)
    for (weight, bias), read in zip(exact, (again.query_map, again.key_map, again.value_map), strict=True):
        torch.testing.assert_close(read(None, 1), (weight, bias), rtol=1e-5, atol=1e-6)


def test_models_without_maps_say_so():
    mamba = tiny_model("mamba")
    assert "qk-maps" not in mamba.capabilities
    with pytest.raises(MissingCapability, match="has no attention"):
        mamba.query_map(None, 0)
