"""What all methods of attribution share: the target, one forward and backward pass, and the graph of tokens."""

import pytest
import torch
import transformers

import workbench
from workbench import functional
from workbench.analyses.attribution.evidence import Wanted, gather, merged, stacks
from workbench.models.adapters import adapt
from workbench.models.micro.characters import CharacterTokenizer
from workbench.testing import FAMILIES, example_input, tiny_model

ALL = Wanted(patterns=True, pattern_gradients=True, inputs=True)
ANSWERING = [f for f in FAMILIES if {"logits", "pattern"} <= tiny_model(f).capabilities and f != "micro"]
TWO_SIDED = ("t5", "bart", "whisper")
IN_SINGLE = ("llama", "neox", "t5", "vit", "ast")  # norms, rotary embeddings or softmax in float32, whatever the dtype


def classifier(**more) -> workbench.LensModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 98, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    names = {0: "bad", 1: "good", 2: "neither"}
    config = transformers.BertConfig(**sizes, intermediate_size=32, id2label=names, num_labels=3)
    return adapt(transformers.BertForSequenceClassification(config).eval(), CharacterTokenizer(), **more)


def eager(model, batch):
    """The model's own attention outputs and logits, with a graph."""
    model.module.set_attn_implementation("eager")
    try:
        return model.module(**batch, output_attentions=True)
    finally:
        model.module.set_attn_implementation("sdpa")


def own_patterns(output) -> dict:
    if getattr(output, "attentions", None) is not None:
        return {"blocks.attn": output.attentions}
    return {
        "encoder_blocks.attn": output.encoder_attentions,
        "decoder_blocks.self_attn": output.decoder_attentions,
        "decoder_blocks.cross_attn": output.cross_attentions,
    }


@pytest.mark.parametrize("family", ANSWERING)
def test_patterns_and_their_gradients_are_those_of_transformers(family, double):
    model, text = double(family)
    found = gather(model, text, ALL)
    output = eager(model, model.encode(text))
    exact = 1e-6 if family in IN_SINGLE else 1e-9
    logits = output.logits if output.logits.ndim == 2 else output.logits[:, found.target.index]
    assert found.target.answer == int(logits.argmax())
    assert found.score == pytest.approx(logits.max().item(), abs=exact)
    torch.testing.assert_close(found.logits, logits[0].detach(), rtol=0, atol=exact)
    for name, patterns in own_patterns(output).items():
        slopes = torch.autograd.grad(logits.max(), patterns, retain_graph=True)
        torch.testing.assert_close(found.patterns[name], torch.cat(patterns).detach(), rtol=0, atol=1e-7)
        torch.testing.assert_close(found.pattern_gradients[name], torch.cat(slopes), rtol=0, atol=max(exact, 1e-7))


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_input_gradients_are_those_of_the_embeddings(family, double):
    model, text = double(family)
    batch = model.encode(text)
    found = gather(model, text, Wanted(inputs=True), token="b", foil="c", position=3)
    embedded = model.module.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    row = model.module(inputs_embeds=embedded, attention_mask=batch["attention_mask"]).logits[0, 3]
    difference = row[model.token_id("b")] - row[model.token_id("c")]
    (slope,) = torch.autograd.grad(difference, embedded)
    torch.testing.assert_close(found.inputs, embedded[0].detach())
    exact = 1e-6 if family in IN_SINGLE else 1e-9
    torch.testing.assert_close(found.input_gradients, slope[0], rtol=0, atol=exact)
    assert found.score == pytest.approx(difference.item(), abs=exact)
    assert found.target.text == "logit of 'b' less that of 'c' at position 3" and found.row == 3


@pytest.mark.parametrize("family", [f for f in FAMILIES if "pattern" in tiny_model(f).capabilities])
def test_the_graph_of_tokens_passes_on_all_that_comes_in(family):
    model = tiny_model(family)
    found = gather(model, example_input(family), Wanted(patterns=True))
    mixed = found.mixed(0.3)
    assert mixed.shape == (len(found.steps), len(found.tokens), len(found.tokens))
    torch.testing.assert_close(mixed.sum(-1), torch.ones(mixed.shape[:2]), rtol=0, atol=1e-5)
    assert len(found.sides) == len(found.tokens) and 0 <= found.row < len(found.tokens)


@pytest.mark.parametrize("family", TWO_SIDED)
def test_an_encoder_decoder_is_one_graph(family):
    """Chained by hand: the encoder, then in each decoder layer its own tokens and what the encoder ended with."""
    model = tiny_model(family)
    found = gather(model, example_input(family), Wanted(patterns=True))
    maps = {name: pattern.mean(1) for name, pattern in found.patterns.items()}
    n_in, n_out = maps["encoder_blocks.attn"].shape[-1], maps["decoder_blocks.self_attn"].shape[-1]
    read = torch.eye(n_in)
    for attention in maps["encoder_blocks.attn"]:
        read = (0.5 * attention + 0.5 * torch.eye(n_in)) @ read
    own, of_input = torch.eye(n_out), torch.zeros(n_out, n_in)
    pairs = zip(maps["decoder_blocks.self_attn"], maps["decoder_blocks.cross_attn"], strict=True)
    for self_attention, cross_attention in pairs:
        mix = 0.5 * self_attention + 0.5 * torch.eye(n_out)
        own, of_input = mix @ own, mix @ of_input
        own, of_input = 0.5 * own, 0.5 * of_input + 0.5 * cross_attention @ read
    rolled = functional.cumulative_product(found.mixed())[-1]
    torch.testing.assert_close(rolled[n_in:], torch.cat([of_input, own], dim=-1), rtol=0, atol=1e-6)
    torch.testing.assert_close(rolled[:n_in, :n_in], read, rtol=0, atol=1e-6)
    assert found.sides == ("input",) * n_in + ("target",) * n_out
    assert found.tokens[found.row] == model.labels(found.batch, side="target")[-1]


def test_padding_is_cut_away_everywhere():
    model, text = tiny_model("bert"), "abcabca"
    ids = model.encode(text)["input_ids"]
    padded = {
        "input_ids": torch.nn.functional.pad(ids, (0, 4), value=7),
        "attention_mask": torch.nn.functional.pad(torch.ones_like(ids), (0, 4)),
    }
    want = merged([ALL, Wanted(sites=("blocks.1.attn.v", "blocks.0.attn.attn_scores", "blocks.1.resid_post"))])
    alone, there = gather(model, text, want), gather(model, padded, want)
    assert there.tokens == alone.tokens and there.row == alone.row
    for one, other in (
        (there.patterns["blocks.attn"], alone.patterns["blocks.attn"]),
        (there.pattern_gradients["blocks.attn"], alone.pattern_gradients["blocks.attn"]),
        (there.input_gradients, alone.input_gradients),
        *((there.values[site], alone.values[site]) for site in want.sites),
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_nothing_but_padding_is_a_sentence():
    model = tiny_model("bert")
    batch = {"input_ids": torch.ones(1, 3, dtype=torch.long), "attention_mask": torch.zeros(1, 3, dtype=torch.long)}
    with pytest.raises(workbench.BadInput, match="all padding"):
        gather(model, batch, ALL)


def test_cross_attention_is_cut_on_both_sides():
    model = tiny_model("t5")
    one = model.encode("abc => a")
    padded = {
        "input_ids": torch.nn.functional.pad(one["input_ids"], (0, 2)),
        "attention_mask": torch.nn.functional.pad(one["attention_mask"], (0, 2)),
        "decoder_input_ids": one["decoder_input_ids"],
    }
    want = Wanted(patterns=True, inputs=True, sites=("decoder_blocks.0.cross_attn.v", "encoder_blocks.0.attn.v"))
    alone, there = gather(model, one, want), gather(model, padded, want)
    for name in alone.patterns:
        torch.testing.assert_close(there.patterns[name], alone.patterns[name], rtol=0, atol=1e-6)
    for site in want.sites:
        torch.testing.assert_close(there.values[site], alone.values[site], rtol=0, atol=1e-6)
    torch.testing.assert_close(there.inputs, alone.inputs)


def test_a_classifier_answers_with_its_classes():
    model = classifier()
    assert model.classes == ("bad", "good", "neither") and "logits" in model.capabilities
    assert "readout" not in model.capabilities and model.vocab_size == 3
    found = gather(model, "abc", ALL, token="good", foil="bad")
    logits = model.logits(model.encode("abc"))[0, 0]
    assert found.score == pytest.approx((logits[1] - logits[0]).item(), abs=1e-6)
    assert found.row == 0 and found.target.text == "logit of 'good' less that of 'bad'"
    with pytest.raises(workbench.BadInput, match="bad, good, neither"):
        gather(model, "abc", ALL, token="ugly")


def test_a_classifier_that_is_not_trained_does_not_answer():
    model = classifier(untrained=["classifier.weight", "classifier.bias"])
    assert "logits" not in model.capabilities
    found = gather(model, "abc", Wanted(patterns=True))
    assert found.score is None and found.target.text == "state at position 0"
    with pytest.raises(workbench.MissingCapability, match="no trained head"):
        gather(model, "abc", ALL)
    with pytest.raises(workbench.MissingCapability, match="no trained head"):
        gather(model, "abc", Wanted(patterns=True), token="good")


@pytest.mark.parametrize("bad", [{"token": "no such token"}, {"token": "a", "foil": "a"}, {"position": 99}])
def test_a_target_that_is_not_there_is_a_sentence(bad):
    with pytest.raises(workbench.BadInput) as caught:
        gather(tiny_model("gpt2"), "abc", ALL, **bad)
    assert len(str(caught.value)) > 30


def test_probabilities_of_the_target(double):
    model, _ = double("gpt2")
    logits = model.logits(model.encode("abc"))
    target = gather(model, "abc", Wanted(), token="b").target
    assert target.probability(logits).item() == pytest.approx(logits[0, -1].softmax(-1)[model.token_id("b")].item())
    against = gather(model, "abc", Wanted(), token="b", foil="c").target
    two = logits[0, -1, [model.token_id("b"), model.token_id("c")]].softmax(-1)
    assert against.probability(logits).item() == pytest.approx(two[0].item())


def test_only_what_the_answer_can_see_is_a_node():
    clip = tiny_model("clip")
    assert [stack.prefix for stack in stacks(clip)] == ["text_blocks"]
    assert [stack.prefix for stack in stacks(tiny_model("t5"))] == ["encoder_blocks", "decoder_blocks"]


def with_head(**config) -> workbench.LensModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 98, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    module = transformers.BertForSequenceClassification(
        transformers.BertConfig(**sizes, intermediate_size=32, **config)
    )
    return adapt(module.eval(), CharacterTokenizer())


@pytest.mark.parametrize("config", [{"num_labels": 1}, {"num_labels": 3, "problem_type": "multi_label_classification"}])
def test_an_answer_without_others_is_judged_by_its_own_logit(config):
    """A single output, or labels that do not exclude another, have no log-probability among all."""
    model = with_head(**config)
    found = workbench.occlusion(model, "abc", token="LABEL_0")
    batch = model.encode("abc")
    before = model.logits(batch)[0, 0, 0]
    for i, score in enumerate(found.scores[0]):
        ids = batch["input_ids"].clone()
        ids[0, i] = CharacterTokenizer.unk_token_id
        after = model.logits({**batch, "input_ids": ids})[0, 0, 0]
        assert score.item() == pytest.approx((before - after).item(), abs=1e-6)
    assert found.scores.abs().max() > 1e-4 and found.explained == "fall of the logit of 'LABEL_0'"
    together = workbench.token_attribution(model, "abc", token="LABEL_0", methods=("raw",), faithfulness=True)
    assert "falls in the logit" in together.check_note and together.faithfulness.isfinite().all()
    chance = gather(model, "abc", Wanted(), token="LABEL_0").target.probability(model.logits(batch))
    assert chance.item() == pytest.approx(before.sigmoid().item())


def test_effects_say_what_they_are_of():
    model = tiny_model("gpt2")
    explained = {
        workbench.occlusion(model, "abc", token="a").explained,
        workbench.attention_knockout(model, "abc", token="a", foil="b").explained,
        workbench.atman(model, "abc", token="a").explained,
        workbench.occlusion(tiny_model("dinov2"), "example").explained,
    }
    assert explained == {
        "fall of the log-probability of 'a' at position 3",
        "fall of the logit of 'a' less that of 'b' at position 3",
        "rise of the loss in place of the logit of 'a' at position 3",
        "turn of the state at position 0",
    }
