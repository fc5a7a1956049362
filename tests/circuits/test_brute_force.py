"""The reference that circuits are held against is itself the model: its logits, its edges, its two ends."""

from functools import cache

import pytest
import torch

from tests.circuits.brute_force import answer, circuit, edges_of, exact, gradient_scores, run, split_by_hand
from workbench.circuits.graph import circuit_graph
from workbench.testing import tiny_model

FAMILIES = ("micro", "gpt2", "llama", "neox")


@cache
def split(family):
    """Give (model, the same split by hand, clean ids, corrupted ids)."""
    model = tiny_model(family)
    ids = model.encode(["abcabcabc", "bcabcabca", "abcabcdbc", "bcabdabca"])["input_ids"]
    return model, split_by_hand(model.module, model.family), ids[:2], ids[2:]


@pytest.mark.parametrize("slots", ["query-head", "kv-head"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_model(family, slots):
    model, plain, ids, _ = split(family)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    expected = model.logits(batch)
    for neurons in ((), (1,)):
        found = run(plain, ids, slots=slots, neurons=neurons)
        torch.testing.assert_close(found.logits, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)
        if not neurons or family != "micro":
            graph = circuit_graph(model, slots=slots, neurons=neurons)
            assert {f"{source}->{slot}" for source, slot in edges_of(found)} == set(graph.edge_names)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_edges_give_the_corrupted_prompt_and_all_edges_the_clean_one(family):
    _, plain, clean, corrupted = split(family)
    whole, other = run(plain, clean), run(plain, corrupted)
    torch.testing.assert_close(circuit(plain, clean, other.writes, set(edges_of(whole))), whole.logits)
    torch.testing.assert_close(circuit(plain, clean, other.writes, set()), other.logits, atol=1e-4, rtol=1e-4)


def test_an_edge_into_a_slot_changes_that_slot_alone():
    _, plain, clean, corrupted = split("llama")
    whole, other = run(plain, clean), run(plain, corrupted)
    changed = run(plain, clean, {"a1.h2<q>": {"m0": other.writes["m0"]}})
    different = {slot for slot in whole.reads if not torch.equal(whole.reads[slot], changed.reads[slot])}
    assert different == {"a1.h2<q>", "m1", "logits"}


def test_gradients_are_the_slope_of_exact_patching():
    """Of corrupted prompts that are hardly corrupted, where an edge's effect is its slope."""
    model, _, clean, _ = split("gpt2")
    plain = split_by_hand(tiny_model("gpt2").module.double(), model.family)
    noise = torch.randn(*clean.shape, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    near = plain.embed(clean) + 1e-6 * noise

    def metric(logits):
        return answer(logits, torch.tensor([9, 9]))[:, 5].sum()

    whole, other = run(plain, clean), run(plain, clean, embedded=near)
    with torch.no_grad():
        slopes = {
            (s, t): float(metric(whole.logits) - metric(run(plain, clean, {t: {s: other.writes[s]}}).logits))
            for s, t in edges_of(whole)
        }
    reads = [whole.reads[slot] for slot in whole.reads]
    grads = dict(zip(whole.reads, torch.autograd.grad(metric(whole.logits), reads), strict=True))
    for (source, slot), slope in slopes.items():
        expected = float(((whole.writes[source] - other.writes[source]) * grads[slot]).detach().sum())
        assert slope == pytest.approx(expected, rel=1e-3, abs=1e-11)


def test_equal_prompts_have_no_effect():
    _, plain, clean, _ = split("neox")

    def metric(logits):
        return answer(logits, torch.tensor([9, 9]))[:, 5].mean()

    assert set(gradient_scores(plain, clean, clean, metric).values()) == {0.0}
    assert max(map(abs, exact(plain, clean, clean, metric).values())) < 1e-6
