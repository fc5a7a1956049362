"""Norms, directions and direct logit attribution: sums that must be exact, and independent references."""

import warnings

import pytest
import torch

import workbench
from workbench.hooks import reading
from workbench.testing import FAMILIES, example_input, tiny_model

ADDITIVE = ("gpt2", "neox", "llama", "t5", "whisper", "mamba", "vit")
FAMILIES = [f for f in FAMILIES if f != "micro"]


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("family", ADDITIVE)
def test_contributions_add_up_to_the_models_logit(double, family, heads):
    model, text = double(family)
    result = workbench.residual(model, text, heads=heads)
    logits = model.logits(model.encode(text))[0]
    own = logits[result.position if len(logits) > 1 else 0].max().item()
    assert result.logit == pytest.approx(own, abs=1e-6)
    assert result.contributions.sum().item() == pytest.approx(result.logit, abs=1e-12)
    # LlamaRMSNorm, T5LayerNorm and MambaRMSNorm work in float32 inside, whatever the model's dtype
    tolerance = 1e-12 if family in ("gpt2", "neox", "whisper", "vit") else 1e-5
    assert abs(result.contributions[result.parts.index("rounding")].item()) < tolerance


def test_any_token_and_position_adds_up(double):
    model, text = double("gpt2")
    logits = model.logits(model.encode(text))[0]
    for number in (3, 40, 97):
        for position in (0, 2, -1):
            result = workbench.residual(model, text, token=model.token_text(number), position=position)
            assert result.contributions.sum().item() == pytest.approx(logits[position, number].item(), abs=1e-12)
            assert abs(result.contributions[-1]) < 1e-12


@torch.no_grad()
def test_every_contribution_by_hand_for_gpt2(double):
    model, text = double("gpt2")
    token, position = 17, 3
    result = workbench.residual(model, text, token=model.token_text(token), position=position, heads=True)
    gpt2, seen = model.module, {}
    for i, block in enumerate(gpt2.transformer.h):
        block.attn.c_proj.register_forward_pre_hook(lambda _m, args, i=i: seen.update({f"z{i}": args[0][0, position]}))
        block.mlp.register_forward_hook(lambda _m, _a, out, i=i: seen.update({f"mlp{i}": out[0, position]}))
    hidden = gpt2(**model.encode(text), output_hidden_states=True).hidden_states
    pieces = {"embed": hidden[0][0, position]}
    for i, block in enumerate(gpt2.transformer.h):
        for head in range(2):
            rows = slice(8 * head, 8 * head + 8)
            pieces[f"blocks.{i}.attn.z:{head}"] = seen[f"z{i}"][rows] @ block.attn.c_proj.weight[rows]
        pieces[f"blocks.{i}.attn.bias"] = block.attn.c_proj.bias
        pieces[f"blocks.{i}.mlp_out"] = seen[f"mlp{i}"]
    x, norm, row = sum(pieces.values()), gpt2.transformer.ln_f, gpt2.lm_head.weight[token]
    sigma = (x.var(unbiased=False) + norm.eps).sqrt()
    expected = {name: (((p - p.mean()) / sigma) * norm.weight).dot(row).item() for name, p in pieces.items()}
    expected["biases"] = norm.bias.dot(row).item()
    assert dict(zip(result.parts[:-1], result.contributions.tolist()[:-1], strict=True)) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("unit", ["component", "head"])
def test_agrees_with_transformer_lens(unit, bridge_of):
    """Differences of two logits, because TransformerLens centres the unembedding and leaves its bias out."""
    from transformer_lens.tools.analysis import direct_logit_attribution

    model, text = tiny_model("gpt2"), "abcabcabc"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bridge = bridge_of(model)
        bridge.enable_compatibility_mode()
        theirs = direct_logit_attribution(
            bridge,
            model.encode(text)["input_ids"],
            answer_tokens=torch.tensor(17),
            incorrect_tokens=torch.tensor(40),
            unit=unit,
        )
    reference = dict(zip(theirs.labels, theirs.attribution.flatten().tolist(), strict=True))
    one, other = (workbench.residual(model, text, token=model.token_text(t), heads=unit == "head") for t in (17, 40))
    ours = dict(zip(one.parts, (one.contributions - other.contributions).tolist(), strict=True))
    for layer in range(2):
        if unit == "component":
            pairs = {f"{layer}_attn_out": f"blocks.{layer}.attn_out", f"{layer}_mlp_out": f"blocks.{layer}.mlp_out"}
        else:
            # TransformerLens folds the bias of the values, and that of the norm before them, out of z into the output
            # bias: each of its heads is ours less a constant
            pairs = {}
            block = model.module.transformer.h[layer]
            v_bias = (block.attn.c_attn.bias + block.ln_1.bias @ block.attn.c_attn.weight)[32:]
            w_o, _ = model.output_map(None, layer)
            for head in range(2):
                shift = _direct(model, text, v_bias[8 * head : 8 * head + 8] @ w_o[head], 17, 40)
                assert reference[f"L{layer}H{head}"] == pytest.approx(
                    ours[f"blocks.{layer}.attn.z:{head}"] - shift, abs=1e-5
                )
        for their, our in pairs.items():
            assert reference[their] == pytest.approx(ours[our], abs=1e-5), our
    assert len(reference) >= 4


def _direct(model, text, vector, one, other):
    """What a constant vector adds to the difference of two logits at the last position, by hand."""
    with torch.no_grad(), reading(model, ["blocks.1.resid_post"]) as values:
        model.module(**model.encode(text))
        x, norm = values["blocks.1.resid_post"][0, -1], model.module.transformer.ln_f
        normed = (vector - vector.mean()) / (x.var(unbiased=False) + norm.eps).sqrt() * norm.weight
        return normed.dot(model.module.lm_head.weight[one] - model.module.lm_head.weight[other]).item()


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_and_cosines_against_a_loop(family):
    model, text = tiny_model(family), example_input(family)
    result = workbench.residual(model, text)
    with torch.no_grad(), reading(model, result.states) as values:
        model.module(**model.encode(text))
    final = values[result.states[-1]][0]
    for state, site in enumerate(result.states):
        for pos in range(len(result.tokens)):
            x = values[site][0, pos]
            assert result.norms[state, pos].item() == pytest.approx(x.square().sum().sqrt().item(), rel=1e-5)
            cosine = (x @ final[pos] / (x.norm() * final[pos].norm())).item()
            assert result.cosine[state, pos].item() == pytest.approx(cosine, abs=1e-5)
    assert result.cosine[-1].tolist() == pytest.approx([1.0] * len(result.tokens), abs=1e-5)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ADDITIVE])
def test_where_the_readout_does_not_split_up_it_says_so(family):
    result = workbench.residual(tiny_model(family), example_input(family), heads=True)
    assert result.contributions is None and result.parts == ()
    assert "norms and cosines only" in result.note
    assert set(result.to_frame()["quantity"]) == {"norm", "cosine"}
    assert result.contributions_frame().empty


def test_frames():
    result = workbench.residual(tiny_model("gpt2"), "abc")
    frame = result.to_frame()
    assert len(frame) == 2 * 3 * len(result.tokens) + len(result.parts)
    assert frame.query("quantity == 'contribution'")["value"].sum() == pytest.approx(result.logit, abs=1e-9)
    assert result.contributions_frame()["sum"].iloc[-1] == pytest.approx(result.logit, abs=1e-9)
    assert frame.query("part == 'blocks.1.mlp_out'")["layer"].item() == "1"


def test_a_position_outside_the_prompt_is_refused():
    with pytest.raises(workbench.BadInput, match="no position 50"):
        workbench.residual(tiny_model("gpt2"), "abc", position=50)
