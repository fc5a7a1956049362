"""Integrated gradients: against captum at equal steps, and what must add up on every family."""

import pytest
import torch

import workbench
from workbench.analyses.attribution import integrated_gradients as module_of
from workbench.analyses.attribution.evidence import Wanted, gather
from workbench.analyses.attribution.removal import removed
from workbench.testing import FAMILIES, example_input, tiny_model

ANSWERING = [f for f in FAMILIES if {"logits", "gradients"} <= tiny_model(f).capabilities]
STAYING = [f for f in ANSWERING if f != "roberta"]  # the tiny one begins with padding: replaced, positions move
CAPTUM = {"midpoint": "riemann_middle", "gauss-legendre": "gausslegendre"}


@pytest.mark.parametrize("rule", CAPTUM)
@pytest.mark.parametrize("baseline", ["zero", "mean"])
@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_agrees_with_captum(family, baseline, rule, double):
    from captum.attr import IntegratedGradients

    model, text = double(family)
    batch, answer = model.encode(text), model.token_id("b")
    vectors = model.module.get_input_embeddings()(batch["input_ids"]).detach()
    start = torch.zeros_like(vectors) if baseline == "zero" else vectors.mean(1, keepdim=True).expand_as(vectors)

    def forward(inputs):
        mask = batch["attention_mask"].expand(len(inputs), -1)
        return model.module(inputs_embeds=inputs, attention_mask=mask).logits[:, 3, answer]

    reference = IntegratedGradients(forward, multiply_by_inputs=True)
    theirs = reference.attribute(vectors, baselines=start, n_steps=12, method=CAPTUM[rule])[0].sum(-1)
    ours = workbench.integrated_gradients(
        model, text, token="b", position=3, baseline=baseline, steps=12, rule=rule, keep_first=False
    )
    torch.testing.assert_close(ours.scores[0], theirs, rtol=0, atol=1e-8)  # its steps are in single precision


@pytest.mark.parametrize("family", STAYING)
def test_scores_add_up_to_the_difference_from_the_baseline(family, monkeypatch):
    """The mask baseline is the prompt with every token replaced, which the model can simply be run on.

    The kinks of T5's ReLUs take more gradients than are spent unasked.
    """
    monkeypatch.setattr(module_of, "MOST", 4096)
    model, text = tiny_model(family), example_input(family)
    evidence = gather(model, text, Wanted())
    gone = torch.ones(1, len(evidence.tokens), dtype=torch.bool)
    change = evidence.score - removed(evidence, gone).score.item()
    found = workbench.integrated_gradients(model, text, baseline="mask", keep_first=False)
    assert found.scores.sum().item() == pytest.approx(change, rel=1e-3, abs=1e-5)
    assert abs(change) > 1e-4


@pytest.mark.parametrize("family", ANSWERING)
def test_the_first_position_that_answers_is_kept(family):
    model, text = tiny_model(family), example_input(family)
    found = workbench.integrated_gradients(model, text)
    first = found.sides.index(found.sides[-1])
    assert found.scores[0, first] == 0 < found.scores.abs().sum()
    kept = torch.ones(1, len(found.tokens), dtype=torch.bool)
    kept[0, first] = False
    evidence = gather(model, text, Wanted())
    change = evidence.score - removed(evidence, kept).score.item()
    masked = workbench.integrated_gradients(model, text, baseline="mask")
    assert masked.scores.sum().item() == pytest.approx(change, rel=1e-3, abs=1e-5)


def test_a_path_is_cut_finer_where_it_bends(monkeypatch):
    """Near zero vectors an RMS norm turns everything at once; the same rule without refining misses that."""
    model, text = tiny_model("llama"), "abcabcabc"
    found = workbench.integrated_gradients(model, text, baseline="zero")
    missed, change, spent = numbers_in(found.note)
    assert abs(missed) <= 1e-3 * abs(change) and 32 < spent <= module_of.MOST
    monkeypatch.setattr(module_of, "MOST", 32)
    coarse = workbench.integrated_gradients(model, text, baseline="zero")
    rough, same, spent = numbers_in(coarse.note)
    assert "more than a thousandth" in coarse.note and "more than a thousandth" not in found.note
    assert spent == 32 and abs(rough) > 1e-3 * abs(same) and same == pytest.approx(change, rel=1e-3)


def numbers_in(note):
    import re

    numbers = re.search(r"baseline, (\S+), but for (\S+) .*with (\d+) gradients", note)
    assert numbers
    return float(numbers[2]), float(numbers[1]), int(numbers[3])


def test_given_steps_are_taken_and_what_they_miss_is_said():
    model = tiny_model("gpt2")
    few, many = (workbench.integrated_gradients(model, "abcabc", steps=n, rule="midpoint") for n in (2, 64))
    few, many = numbers_in(few.note), numbers_in(many.note)
    assert few[2] == 2 and many[2] == 64 and few[1] == pytest.approx(many[1], rel=1e-3)
    assert abs(few[0]) > 10 * abs(many[0])


def test_a_foil_is_explained_as_a_difference():
    model = tiny_model("bert")
    one, other, both = (
        workbench.integrated_gradients(model, "abcabc", token=t, foil=f, steps=24).scores
        for t, f in (("b", None), ("c", None), ("b", "c"))
    )
    torch.testing.assert_close(both, one - other, rtol=0, atol=1e-5)


def test_one_token_is_not_kept_as_the_first():
    found = workbench.integrated_gradients(tiny_model("gpt2"), torch.tensor([[5]]), baseline="zero")
    assert found.scores.abs().min() > 1e-4
    mean = workbench.integrated_gradients(tiny_model("gpt2"), torch.tensor([[5]]))
    assert mean.scores.abs().max() == 0 and "choose another" in mean.note


def test_padding_changes_nothing():
    model, text = tiny_model("bert"), "abcabca"
    ids = model.encode(text)["input_ids"]
    padded = {
        "input_ids": torch.nn.functional.pad(ids, (0, 3), value=7),
        "attention_mask": torch.nn.functional.pad(torch.ones_like(ids), (0, 3)),
    }
    for baseline in ("mean", "zero", "mask"):
        one, other = (
            workbench.integrated_gradients(model, x, token="b", baseline=baseline, steps=6) for x in (text, padded)
        )
        torch.testing.assert_close(other.scores, one.scores, rtol=0, atol=1e-5)
