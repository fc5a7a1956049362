"""Raw attention against transformers' own, and what an analysis of patterns must not be disturbed by."""

from dataclasses import replace

import pytest
import torch

import workbench
from tests.analyses.attribution.by_hand import DECODERS, ENCODERS, TWO_SIDED, attentions, graphs, output_of
from workbench.analyses.attribution import pagerank, raw_attention, rollout
from workbench.analyses.attribution.evidence import Wanted, gather
from workbench.testing import example_input, tiny_model

OF_PATTERNS = ("raw-attention", "attention-rollout", "attention-pagerank")


def run(name, model, prompt, **options):
    return workbench.registry.get(name)(model, prompt, **options)


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS, *TWO_SIDED])
def test_is_the_row_of_transformers_attention(family, double):
    model, prompt = double(family)
    found = run("raw-attention", model, prompt)
    expected = torch.stack([links.mean(0) for links in graphs(attentions(output_of(model, model.encode(prompt))))])
    torch.testing.assert_close(found.maps.double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(found.scores, found.maps[:, found.row])
    assert len(found.steps) == len(expected)
    side = model.main.side
    assert found.sides[found.row] == side
    assert not found.signed


def test_the_position_chooses_the_row():
    model = tiny_model("gpt2")
    found = run("raw-attention", model, "abcde", position=2)
    assert found.row == 2 and found.scores[:, 3:].eq(0).all()
    assert torch.equal(found.scores, run("raw-attention", model, "abcde").maps[:, 2])


@pytest.mark.parametrize("name", OF_PATTERNS)
@pytest.mark.parametrize(("family", "side"), [("bert", "right"), ("gpt2", "left"), ("gpt2", "right")])
def test_padding_takes_no_part(name, family, side):
    model, text = tiny_model(family), "abcabca"
    ids = model.encode(text)["input_ids"]
    pad = (4, 0) if side == "left" else (0, 4)
    mask = torch.nn.functional.pad(torch.ones_like(ids), pad)
    padded = {"input_ids": torch.nn.functional.pad(ids, pad, value=7), "attention_mask": mask}
    if side == "left":
        padded["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    alone, there = run(name, model, text), run(name, model, padded)
    assert (there.tokens, there.row) == (alone.tokens, alone.row)
    torch.testing.assert_close(there.scores, alone.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [*OF_PATTERNS, "relevance"])
def test_one_token_is_enough_and_none_is_a_sentence(name):
    model = tiny_model("gpt2")
    found = run(name, model, torch.tensor([5]))
    assert found.scores.shape[1] == 1 and found.scores.isfinite().all()
    if name != "relevance":
        assert found.scores.eq(1).all()
    nothing = {"input_ids": torch.ones(1, 3, dtype=torch.long), "attention_mask": torch.zeros(1, 3, dtype=torch.long)}
    with pytest.raises(workbench.BadInput, match="all padding"):
        run(name, model, nothing)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("module", [raw_attention, rollout, pagerank])
def test_rows_that_do_not_sum_to_one_are_refused_or_normalised(module, family):
    evidence = gather(tiny_model(family), example_input(family), Wanted(patterns=True))
    scaled = replace(evidence, patterns={k: 0.5 * v for k, v in evidence.patterns.items()})
    (scores,) = (method.function for method in module.METHODS)
    with pytest.raises(workbench.BadInput, match=r"sums to 0\.5.*normalize=True"):
        scores(scaled)
    once, again = scores(evidence), scores(scaled, normalize=True)
    torch.testing.assert_close(again.values, once.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OF_PATTERNS)
def test_half_precision_is_not_taken_for_rows_that_do_not_sum_to_one(name, dtype):
    model, prompt = tiny_model("gpt2"), "abcabcabcabcabc"
    exact = run(name, model, prompt)
    model.module.to(dtype)
    found = run(name, model, prompt)
    torch.testing.assert_close(found.scores, exact.scores, rtol=0, atol=0.02)
