"""DecompX: the parts sum to the logit in every family, and each part is what it should be.

Two independent judges. With biases apart every part is a gradient: hold patterns, norms' scales and activations' slopes
fixed inside transformers' own modules, and a token's part is the logit's gradient at its first state times that state.
With biases split, whole tensors of parts are carried through BERT and GPT-2 by hand.
"""

from contextlib import ExitStack

import pytest
import torch

import workbench
from tests.analyses.attribution.plain_blocks import OTHERS, exact_model, linear
from workbench.analyses.attribution import decomposing
from workbench.analyses.attribution.decompx import METHODS
from workbench.analyses.attribution.evidence import gather
from workbench.analyses.attribution.method import Scores
from workbench.errors import BadInput, MissingCapability
from workbench.hooks import editing, reading
from workbench.testing import FAMILIES, tiny_model

ANSWERING = [f for f in FAMILIES if {"decomposition", "logits"} <= tiny_model(f).capabilities]
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


@pytest.mark.parametrize("family", [*ANSWERING, *OTHERS])
def test_the_parts_are_the_logit(family):
    model, text = exact_model(family)
    answers = [model.token_text(n) for n in (1, 2)] if model.classes is not None else ["a", "b"]
    for options in ({}, {"token": answers[0]}, {"token": answers[0], "foil": answers[1]}):
        for biases in ("absdot", "apart"):
            for gate in ("half", "gate", "linear"):
                found = workbench.decompx(model, text, biases=biases, gate=gate, **options)
                assert abs(found.rounding) < 1e-10 * max(1, abs(found.score))
                total = found.scores.sum().item() + (found.biases or 0.0)
                assert total == pytest.approx(found.score, rel=1e-10, abs=1e-10)
                assert (found.biases is None) == (biases == "absdot")
                assert found.to_frame()["value"].sum() == pytest.approx(found.score, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama", "t5"])
def test_what_a_causal_position_cannot_see_adds_nothing(family):
    model, text = exact_model(family)
    found = workbench.decompx(model, text, position=2 if family != "t5" else 0, biases="absdot")
    if family == "t5":
        assert not found.scores[found.row + 1 :].any() and found.scores[: found.row].all()
    elif model.main.causal:
        assert not found.scores[3:].any() and found.scores[:3].all()
    else:
        assert found.scores.all()


def frozen(model, text):
    """A context in which the module's patterns, norms' scales and slopes are those of the plain pass: linear."""
    sites = [s for name in model.attentions for s in model.attention_sites(name, "pattern")]
    with torch.no_grad(), reading(model, sites) as values:
        model.module(**model.encode(text))
    stack = ExitStack()
    stack.enter_context(editing(model, {s: lambda _x, p=values[s]: p for s in sites}))
    for module in model.module.modules():
        kind = type(module).__name__
        if "Norm" in kind:
            module.forward = _held_norm(module)
        elif "Activation" in kind or "GELU" in kind or kind in ("ReLU", "Tanh"):
            module.forward = _held_slope(module.forward)
    return stack


def _held_norm(norm):
    def forward(x):
        centre = x.mean(-1, keepdim=True) if isinstance(norm, torch.nn.LayerNorm) else 0.0
        eps = getattr(norm, "variance_epsilon", None) or norm.eps
        offset = 1.0 if type(norm).__name__.startswith("Gemma") else 0.0
        scale = ((x - centre).square().mean(-1, keepdim=True) + eps).sqrt().detach()
        bias = getattr(norm, "bias", None)
        return (x - centre) / scale * (norm.weight + offset) + (0.0 if bias is None else bias)

    return forward


def _held_slope(act):
    def forward(x):
        slope = torch.where(x == 0, 0.5, act(x) / torch.where(x == 0, 1.0, x))
        return x * slope.detach()

    return forward


def _half_gate(mlp):
    """A gated MLP whose product is linear: half through each factor."""
    gate, up, down = (
        (mlp.gate_proj, mlp.up_proj, mlp.down_proj) if hasattr(mlp, "up_proj") else (mlp.wi_0, mlp.wi_1, mlp.wo)
    )
    act = mlp.act_fn if hasattr(mlp, "act_fn") else mlp.act

    def forward(x):
        a, b = act(gate(x)), up(x)
        return down((a * b.detach() + a.detach() * b) / 2)

    return forward


GRADED = ["gpt2", "llama", "neox", "micro", "bert", "distilbert", "electra", "albert", "vit", "t5", "bart", "whisper",
          "gemma", "phi", "opt", "mt5", "bert_classifier"]  # fmt: skip


@pytest.mark.parametrize("family", GRADED)
def test_parts_are_gradients_of_the_frozen_model(family):
    model, text = exact_model(family)
    found = workbench.decompx(model, text, biases="apart")
    for module in model.module.modules():
        if type(module).__name__ in ("LlamaMLP", "GemmaMLP", "T5DenseGatedActDense", "MT5DenseGatedActDense"):
            module.forward = _half_gate(module)
    two_sided = "cross_attn" in model.main.attentions
    entries = [f"{s.prefix}.0.resid_pre" for s in (model.stacks if two_sided else [model.main])]
    with frozen(model, text), reading(model, entries, gradients=True) as values:
        logits = model.module(**model.encode(text)).logits
        evidence = gather(exact_model(family)[0], text, decomposing.wanted(model))
        row = logits[0] if logits.ndim == 2 else logits[0, evidence.target.index]
        answer = evidence.target.answer
        states = [values[entry] for entry in entries]
        gradients = torch.autograd.grad(row[answer], states)
    parts = torch.cat([(g[0] * x[0]).sum(-1).detach() for g, x in zip(gradients, states, strict=True)])
    torch.testing.assert_close(found.scores, parts, **CLOSE)
    assert found.biases == pytest.approx(found.score - parts.sum().item(), abs=1e-10)


@torch.no_grad()
def spread(parts, bias):
    """A bias over parts (source, d) at one position, in the paper's words."""
    dots = (parts @ bias).abs()
    return parts + (dots / dots.sum())[:, None] * bias if bias.any() else parts


@torch.no_grad()
def normed(parts, norm):
    total = parts.sum(0)
    scale = (total.var(correction=0) + norm.eps).sqrt()
    return spread((parts - parts.mean(-1, keepdim=True)) / scale * norm.weight, norm.bias)


@torch.no_grad()
def attended(x, i, pattern, value, value_bias, out):
    """Parts (source, d) at query i of attention over x (pos, source, d)."""
    w_o, width = linear(out), value.shape[1] // len(pattern)
    parts = sum(
        pattern[h, i, j] * (x[j] @ value[:, h * width : (h + 1) * width] @ w_o[h * width : (h + 1) * width])
        for h in range(len(pattern))
        for j in range(len(x))
    )
    return spread(parts, out.bias + value_bias @ w_o)


@torch.no_grad()
def through_mlp(parts, inner, act, outer):
    hidden = spread(parts @ linear(inner), inner.bias)
    before = hidden.sum(0)
    return spread(hidden * (act(before) / before) @ linear(outer), outer.bias)


def first_parts(model, text):
    """Parts (pos, source, d) at the start, and the patterns (layer, head, query, key)."""
    sites = ["blocks.0.resid_pre", *model.attention_sites(None, "pattern")]
    with torch.no_grad(), reading(model, sites) as values:
        model.module(**model.encode(text))
    start = values[sites[0]][0]
    x = torch.zeros(len(start), len(start), start.shape[1], dtype=torch.float64)
    x[range(len(start)), range(len(start))] = start
    return x, torch.stack([values[s][0] for s in sites[1:]])


def test_bert_by_hand():
    model, text = exact_model("bert")
    x, patterns = first_parts(model, text)
    for layer, pattern in zip(model.module.bert.encoder.layer, patterns, strict=True):
        attention, dense = layer.attention, layer.attention.output.dense
        value = attention.self.value
        mid = [
            normed(x[i] + attended(x, i, pattern, linear(value), value.bias, dense), attention.output.LayerNorm)
            for i in range(len(x))
        ]
        act = layer.intermediate.intermediate_act_fn
        x = torch.stack(
            [
                normed(m + through_mlp(m, layer.intermediate.dense, act, layer.output.dense), layer.output.LayerNorm)
                for m in mid
            ]
        )
    found = workbench.decompx(model, text, token="a")
    head = model.module.cls.predictions
    hidden = spread(x[found.row] @ linear(head.transform.dense), head.transform.dense.bias)
    before = hidden.sum(0)
    state = normed(hidden * (head.transform.transform_act_fn(before) / before), head.transform.LayerNorm)
    answer = model.token_id("a")
    logit = spread((state @ head.decoder.weight[answer])[:, None], head.decoder.bias[answer][None])
    torch.testing.assert_close(found.scores, logit[:, 0].detach(), **CLOSE)


def test_gpt2_by_hand():
    model, text = exact_model("gpt2")
    x, patterns = first_parts(model, text)
    transformer = model.module.transformer
    for block, pattern in zip(transformer.h, patterns, strict=True):
        read = torch.stack([normed(one, block.ln_1) for one in x])
        fused = block.attn.c_attn
        value, bias = fused.weight[:, 32:], fused.bias[32:]
        x = torch.stack([x[i] + attended(read, i, pattern, value, bias, block.attn.c_proj) for i in range(len(x))])
        mlp = block.mlp
        x = torch.stack([one + through_mlp(normed(one, block.ln_2), mlp.c_fc, mlp.act, mlp.c_proj) for one in x])
    found = workbench.decompx(model, text, token="a", foil="b")
    rows = model.module.lm_head.weight
    direction = rows[model.token_id("a")] - rows[model.token_id("b")]
    torch.testing.assert_close(found.scores, (normed(x[-1], transformer.ln_f) @ direction).detach(), **CLOSE)


def test_looking_only_at_itself_leaves_the_others_nothing():
    model, text = exact_model("bert")
    sites = model.attention_sites(None, "pattern")
    eye = {s: lambda p: torch.eye(p.shape[-1], dtype=p.dtype).expand_as(p) for s in sites}
    with editing(model, eye):
        found = workbench.decompx(model, text)
    others = [i for i in range(len(found.tokens)) if i != found.row]
    assert not found.scores[others].any()
    assert found.scores[found.row].item() == pytest.approx(found.score)


def test_one_token_is_all_there_is():
    found = workbench.decompx(tiny_model("gpt2"), torch.tensor([[7]]))
    assert found.scores.item() == pytest.approx(found.score, abs=1e-5)


def test_a_difference_is_the_difference_of_the_answers():
    model, text = exact_model("bert")
    both = workbench.decompx(model, text, token="a", foil="b").scores
    alone = [workbench.decompx(model, text, token=t).scores for t in "ab"]
    torch.testing.assert_close(both, alone[0] - alone[1], **CLOSE)


def test_is_a_method_with_the_same_scores():
    model, text = exact_model("llama")
    evidence = gather(model, text, METHODS[0].wants(model))
    found = METHODS[0].function(evidence)
    assert isinstance(found, Scores) and METHODS[0].signed
    torch.testing.assert_close(found.values[0], workbench.decompx(model, text).scores)
    assert "add up to the explained number" in found.note


def test_too_little_memory_is_said_before(monkeypatch):
    monkeypatch.setattr(decomposing, "available_memory", lambda: 10_000)
    with pytest.raises(BadInput, match=r"carries .* through each layer, and 10.0 kB are free. Give a shorter prompt"):
        workbench.decompx(tiny_model("gpt2"), "abcabc")


def test_a_model_that_does_more_than_its_maps_say_is_found_out():
    model = tiny_model("gpt2")
    model.module.transformer.h[1].mlp.register_forward_hook(lambda _m, _a, out: 2 * out)
    with pytest.raises(MissingCapability, match="do more than is known of them"):
        workbench.decompx(model, "abcabc")


@pytest.mark.parametrize("family", ["mamba", "ast", "dinov2"])
def test_what_is_not_known_is_said(family):
    with pytest.raises(MissingCapability, match="needs .*(every map is known|trained head)"):
        workbench.decompx(tiny_model(family), "example" if family != "mamba" else "abc")


def test_half_precision_models_are_carried_in_single():
    model = tiny_model("gpt2")
    model.module.to(torch.bfloat16)
    found = workbench.decompx(model, "abcabc")
    assert found.scores.dtype == torch.float32
    assert abs(found.rounding) < 0.05 * max(1.0, abs(found.score))


def test_results_come_back_from_a_file(tmp_path):
    found = workbench.decompx(tiny_model("gpt2"), "abc", biases="apart")
    found.save(tmp_path / "parts.json")
    again = workbench.load_result(tmp_path / "parts.json")
    assert torch.equal(again.scores, found.scores) and again.biases == found.biases
    assert len(found.figure().data) == 1


def test_biases_that_point_nowhere_stay_with_what_a_position_can_see():
    """Values of zero and a bias: no part points along it, and no later token may get a share of it."""
    model, text = exact_model("gpt2")
    with torch.no_grad():
        for block in model.module.transformer.h:
            block.attn.c_attn.weight[:, 32:] = 0
    found = workbench.decompx(model, text, position=3)
    assert abs(found.rounding) < 1e-10
    assert not found.scores[4:].any() and found.scores[:4].all()
