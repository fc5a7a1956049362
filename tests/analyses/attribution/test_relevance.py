"""Relevance against the paper's rules in loops, on transformers' own attention and autograd's gradients of it."""

import pytest
import torch
import transformers

import workbench
from tests.analyses.attribution.by_hand import DECODERS, ENCODERS, TWO_SIDED, answer_row, attentions, output_of
from workbench.models.adapters import adapt
from workbench.models.micro.characters import CharacterTokenizer
from workbench.testing import tiny_model


def weighted(patterns, value):
    """Mean over heads of the positive part of attention times gradient, a layer at a time, entry by entry."""
    slopes = torch.autograd.grad(value, patterns, retain_graph=True)
    every = []
    for pattern, slope in zip(patterns, slopes, strict=True):
        heads, queries, keys = pattern[0].shape
        found = torch.zeros(queries, keys, dtype=torch.float64)
        for head in range(heads):
            for q in range(queries):
                for k in range(keys):
                    found[q, k] += max(0.0, (pattern[0, head, q, k] * slope[0, head, q, k]).item()) / heads
        every.append(found)
    return every


def normalized(state):
    """What was added to the identity, rows summing to one, on top of the identity; rows without any stay."""
    found = state - torch.eye(len(state), dtype=torch.float64)
    for row in found:
        if row.sum() > 0:
            row /= row.sum().item()
    return found + torch.eye(len(state), dtype=torch.float64)


def by_the_rules(found, value):
    """The last state of a model with one stack, or (what decoder tokens have of the encoder's, and of their own)."""
    if len(found) == 1:
        state = torch.eye(found[0][0].shape[-1], dtype=torch.float64)
        for a in weighted(found[0], value):
            state = state + a @ state
        return (state,)
    encoder, decoder, cross = (weighted(patterns, value) for patterns in found)
    read = torch.eye(len(encoder[0]), dtype=torch.float64)
    for a in encoder:
        read = read + a @ read
    own = torch.eye(len(decoder[0]), dtype=torch.float64)
    between = torch.zeros(len(decoder[0]), len(read), dtype=torch.float64)
    for at_own, at_other in zip(decoder, cross, strict=True):
        own, between = own + at_own @ own, between + at_own @ between
        between = between + normalized(own).T @ at_other @ normalized(read)
    return between, own


def close(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7 * float(expected.abs().max()))


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS, *TWO_SIDED])
def test_is_the_papers_rules_on_transformers_own_attention(family, double):
    model, prompt = double(family)
    found = workbench.registry.get("relevance")(model, prompt)
    output = output_of(model, model.encode(prompt))
    parts = by_the_rules(attentions(output), answer_row(output).max())
    states = torch.cat(parts, -1)
    n = len(found.tokens)
    expected = states - torch.eye(n, dtype=torch.float64)[-len(states) :]
    assert expected.abs().max() > 0
    close(found.maps[-1][n - len(states) :], expected)
    close(found.scores[-1], expected[found.row - (n - len(states))])
    assert (found.scores >= 0).all() and found.steps[-1].startswith("decoder" if len(parts) > 1 else "")


def test_against_a_foil_and_at_a_position(double):
    model, prompt = double("gpt2")
    found = workbench.registry.get("relevance")(model, prompt, token="b", foil="c", position=2)
    output = output_of(model, model.encode(prompt))
    row = output.logits[0, 2]
    expected, *_ = by_the_rules(attentions(output), row[model.token_id("b")] - row[model.token_id("c")])
    close(found.scores[-1], expected[2] - torch.eye(len(expected), dtype=torch.float64)[2])
    assert found.scores[:, 3:].eq(0).all()
    turned = workbench.registry.get("relevance")(model, prompt, token="c", foil="b", position=2)
    assert not torch.allclose(turned.scores[-1], found.scores[-1], atol=1e-4 * float(found.scores.max()))


def test_a_classifier_is_explained_where_it_reads(double):
    torch.manual_seed(0)
    names = {0: "bad", 1: "good", 2: "neither"}
    config = transformers.BertConfig(
        vocab_size=98, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, id2label=names
    )
    model = adapt(transformers.BertForSequenceClassification(config).eval().double(), CharacterTokenizer())
    found = workbench.registry.get("relevance")(model, "abcde")
    output = output_of(model, model.encode("abcde"))
    expected, *_ = by_the_rules(attentions(output), output.logits[0].max())
    assert found.row == 0
    close(found.scores[-1], expected[0] - torch.eye(len(expected), dtype=torch.float64)[0])


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "bart"])
def test_padding_takes_no_part(family):
    model = tiny_model(family)
    batch = model.encode("abcab => c" if family in TWO_SIDED else "abcabca")
    pad = (4, 0) if family == "gpt2" else (0, 4)
    mask = torch.nn.functional.pad(torch.ones_like(batch["input_ids"]), pad)
    padded = batch | {"input_ids": torch.nn.functional.pad(batch["input_ids"], pad, value=7), "attention_mask": mask}
    if family == "gpt2":
        padded["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    alone, there = (workbench.registry.get("relevance")(model, given) for given in (batch, padded))
    assert (there.tokens, there.row) == (alone.tokens, alone.row)
    scale = float(alone.scores.max())
    torch.testing.assert_close(there.scores, alone.scores, rtol=0, atol=1e-4 * scale)


def test_what_has_no_answer_or_no_such_token_is_a_sentence():
    with pytest.raises(workbench.MissingCapability, match="trained head"):
        workbench.registry.get("relevance")(tiny_model("dinov2"), workbench.testing.example_input("dinov2"))
    with pytest.raises(workbench.BadInput):
        workbench.registry.get("relevance")(tiny_model("gpt2"), "abc", token="no such token")


def test_gradients_that_are_not_there_give_nothing_rather_than_nan(double):
    """The first position of a causal model can look nowhere else: its attention is one, whatever the scores are."""
    model, prompt = double("gpt2")
    found = workbench.registry.get("relevance")(model, prompt, position=0)
    assert found.scores[:, 1:].eq(0).all() and found.scores.isfinite().all()
