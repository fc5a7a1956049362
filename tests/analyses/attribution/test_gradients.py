"""Saliency, input x gradient and SmoothGrad: against autograd on the plain models' own embeddings."""

import pytest
import torch

import workbench
from workbench.testing import FAMILIES, example_input, tiny_model

ANSWERING = [f for f in FAMILIES if {"logits", "gradients"} <= tiny_model(f).capabilities]
METHODS = ("saliency", "input-x-gradient", "smooth-grad")
EMBEDDED = ("gpt2", "llama", "neox", "bert", "roberta", "distilbert", "albert", "mamba")


def gradient_at(model, batch, vectors, answer, position=-1) -> torch.Tensor:
    """The gradient of one logit of the plain model at embeddings (1, pos, d)."""
    vectors = vectors.detach().clone().requires_grad_()
    rest = {name: value for name, value in batch.items() if name != "input_ids"}
    if model.name == "tiny:roberta":  # which counts its positions from the ids
        rest["position_ids"] = torch.arange(vectors.shape[1])[None]
    logits = model.module(inputs_embeds=vectors, **rest).logits
    return torch.autograd.grad(logits[0, position, answer], vectors)[0][0]


@pytest.mark.parametrize("family", EMBEDDED)
def test_is_the_gradient_at_the_embeddings(family, double):
    model, text = double(family)
    batch = model.encode(text)
    vectors = model.module.get_input_embeddings()(batch["input_ids"])
    slope = gradient_at(model, batch, vectors, model.token_id("b"), 4)
    options = {"token": "b", "position": 4}
    expected = {
        ("saliency", "l2"): slope.norm(dim=-1),
        ("saliency", "l1"): slope.abs().sum(-1),
        ("input-x-gradient", False): (vectors[0] * slope).sum(-1),
        ("input-x-gradient", True): (vectors[0] * slope).norm(dim=-1),
    }
    for (name, norm), scores in expected.items():
        found = workbench.get(name)(model, text, **options, norm=norm)
        torch.testing.assert_close(found.scores[0], scores.detach().to(found.scores), rtol=1e-5, atol=1e-8)
    assert slope.norm(dim=-1)[:5].min() > 0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba", "micro"])
def test_tokens_that_cannot_be_seen_score_nothing(family, name):
    found = workbench.get(name)(tiny_model(family), "abcabc", position=2)
    assert found.scores[0, 3:].abs().max() == 0 < found.scores[0, :3].abs().min()


def test_both_sides_of_an_encoder_decoder_have_gradients(double):
    model, text = double("bart")
    batch = model.encode(text)
    scale = {name: getattr(model.module.model, name).embed_tokens for name in ("encoder", "decoder")}
    entries, handles = {}, []
    for name in scale:
        block = getattr(model.module.model, name).layers[0]

        def enter(_module, args, name=name):
            entries[name] = args[0].detach().clone().requires_grad_()
            return (entries[name], *args[1:])

        handles.append(block.register_forward_pre_hook(enter))
    row = model.module(**batch).logits[0, -1]
    for handle in handles:
        handle.remove()
    slopes = torch.autograd.grad(row.max(), [entries["encoder"], entries["decoder"]])
    expected = torch.cat([slope[0].norm(dim=-1) for slope in slopes])
    found = workbench.saliency(model, text)
    torch.testing.assert_close(found.scores[0], expected, rtol=1e-6, atol=1e-10)
    assert found.sides.count("input") == 7 and found.sides.count("target") == 3


def test_an_image_is_asked_at_its_patches():
    model = tiny_model("vit")
    batch, kept = model.encode("example"), []

    def enter(_module, args):
        kept.append(args[0].detach().clone().requires_grad_())
        return (kept[0], *args[1:])

    handle = model.module.get_submodule(model.main.paths[0]).register_forward_pre_hook(enter)
    (slope,) = torch.autograd.grad(model.module(**batch).logits[0, 3], kept)
    handle.remove()
    found = workbench.input_x_gradient(model, "example", token="LABEL_3")
    torch.testing.assert_close(found.scores[0], (kept[0] * slope)[0].sum(-1).detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("measure", ["l2", "l1", "input-x-gradient"])
def test_smooth_grad_is_the_mean_over_noisy_prompts(measure, double):
    model, text = double("gpt2")
    found = workbench.smooth_grad(model, text, token="b", samples=5, noise=0.3, seed=7, measure=measure)
    batch = model.encode(text)
    vectors = model.module.get_input_embeddings()(batch["input_ids"]).detach()
    draws = torch.randn(5, *vectors.shape[1:], generator=torch.Generator().manual_seed(7)).double()
    mean = torch.zeros_like(vectors[0])
    for draw in draws:
        noisy = vectors + 0.3 * vectors.std(correction=0) * draw
        mean += gradient_at(model, batch, noisy, model.token_id("b")) / 5
    expected = {"l2": mean.norm(dim=-1), "l1": mean.abs().sum(-1), "input-x-gradient": (vectors[0] * mean).sum(-1)}
    torch.testing.assert_close(found.scores[0], expected[measure], rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("family", ANSWERING)
def test_without_noise_it_is_the_plain_gradient(family):
    model, text = tiny_model(family), example_input(family)
    plain, smooth = workbench.saliency(model, text), workbench.smooth_grad(model, text, samples=3, noise=0.0)
    torch.testing.assert_close(smooth.scores, plain.scores, rtol=2e-4, atol=1e-6)


def test_noisy_copies_are_each_alone_whatever_the_batch(monkeypatch):
    from workbench.analyses.attribution import perturb

    model = tiny_model("bert")
    together = workbench.smooth_grad(model, "abcabc", samples=5)
    monkeypatch.setattr(perturb, "MOST_ROWS", 2)
    again = workbench.smooth_grad(model, "abcabc", samples=5)
    torch.testing.assert_close(again.scores, together.scores, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side, name):
    model, text = tiny_model("bert"), "abcabca"
    ids = model.encode(text)["input_ids"]
    pad = (3, 0) if side == "left" else (0, 3)
    padded = {
        "input_ids": torch.nn.functional.pad(ids, pad, value=7),
        "attention_mask": torch.nn.functional.pad(torch.ones_like(ids), pad),
    }
    if side == "left":
        padded["position_ids"] = torch.tensor([[0, 0, 0, *range(ids.shape[1])]])
    one, other = (workbench.get(name)(model, x, token="b") for x in (text, padded))
    torch.testing.assert_close(other.scores, one.scores, rtol=1e-4, atol=1e-6)


def test_says_when_precision_or_saturation_may_have_eaten_the_gradients():
    half = tiny_model("gpt2")
    half.module.to(torch.bfloat16)
    assert "bfloat16" in workbench.saliency(half, "abc").note
    flat = tiny_model("gpt2")
    with torch.no_grad():
        flat.module.get_submodule("transformer.ln_f").weight.zero_()
    found = workbench.input_x_gradient(flat, "abc")
    assert found.scores.abs().max() == 0 and "Every gradient is 0" in found.note
    assert "Every" not in workbench.saliency(tiny_model("gpt2"), "abc").note
