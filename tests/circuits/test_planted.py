"""The planted models do what is said of them: their circuit alone is enough, and none of its edges can be spared."""

from functools import cache

import pytest
import torch

from tests.circuits.brute_force import circuit, edges_of, exact, gradient_scores, run, split_by_hand
from tests.circuits.gates import gate
from tests.circuits.planted import PLANTED, induction, linear

MIDPOINTS = (0.1, 0.3, 0.5, 0.7, 0.9)


@cache
def split(name):
    planted = PLANTED[name]()
    return planted, split_by_hand(planted.model.module, planted.model.family)


def named(scores):
    return {f"{source}->{slot}": score for (source, slot), score in scores.items()}


def apart(scores, true):
    """Smallest true score by size, over the largest that is not: above 1 the circuit comes first (AUROC 1)."""
    by_name = named(scores)
    return min(abs(by_name[n]) for n in true) / max(abs(by_name[n]) for n in set(by_name) - true)


@pytest.mark.parametrize("name", PLANTED)
def test_it_does_its_task_with_its_circuit_alone(name):
    planted, plain = split(name)
    with torch.no_grad():
        clean, other = run(plain, planted.clean), run(plain, planted.corrupted)
    torch.testing.assert_close(clean.logits, planted.model.logits(planted.pair.clean))
    kept = {tuple(edge.split("->")) for edge in planted.true}
    assert kept <= set(edges_of(clean))
    assert planted.difference(clean.logits) > 0.9
    assert planted.difference(other.logits) < 0.1
    alone = circuit(plain, planted.clean, other.writes, kept)
    assert planted.difference(alone) > 0.9
    for edge in kept:
        assert planted.difference(circuit(plain, planted.clean, other.writes, kept - {edge})) < 0.75
    for node in planted.dead:
        assert not clean.writes[node].any()
        assert any(source == node for source, _ in edges_of(clean))


@pytest.mark.parametrize("name", PLANTED)
def test_every_method_tells_the_circuit_from_the_rest(name):
    planted, plain = split(name)
    prompts = plain, planted.clean, planted.corrupted, planted.difference
    assert apart(exact(*prompts), planted.true) > 500
    assert apart(gradient_scores(*prompts), planted.true) > 50
    assert apart(gradient_scores(*prompts, at=MIDPOINTS), planted.true) > 500


def test_gradients_at_the_clean_prompt_miss_edges_into_patterns_that_are_sure():
    """A softmax that is all on one key is flat, so EAP sees no query and no key; along the way from corrupted to clean
    it is not, so EAP-IG does, and patching does not ask for slopes at all.
    """
    planted = induction(sharp=20.0)
    prompts = split_by_hand(planted.model.module, "attention_only"), planted.clean, planted.corrupted
    assert apart(gradient_scores(*prompts, planted.difference), planted.true) < 0.01
    assert apart(gradient_scores(*prompts, planted.difference, at=MIDPOINTS), planted.true) > 100
    assert apart(exact(*prompts, planted.difference), planted.true) > 500


def seen(planted):
    plain = split_by_hand(planted.model.module, "gpt2")
    scores = named(exact(plain, planted.clean, planted.corrupted, planted.difference))
    assert scores["m0->logits"] == pytest.approx(planted.difference(run(plain, planted.clean).logits).item() * 2 - 1)
    return {name for name, score in scores.items() if abs(score) > 1e-9}


def test_noising_and_denoising_disagree_about_gates():
    """One input of an OR can be spared while the other is there: noising one shows nothing, and denoising one shows
    all. An AND is the other way round. So an edge that patching does not show may still be part of the circuit.
    """
    both, neither = (1, 1), (0, 0)
    true = gate("and").true
    assert seen(gate("and", both, neither)) == true
    assert seen(gate("and", neither, both)) == {"m0->logits"}
    assert seen(gate("or", both, neither)) == {"m0->logits"}
    assert seen(gate("or", neither, both)) == true


@pytest.mark.parametrize("kind", ["and", "or"])
@pytest.mark.parametrize("bits", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gates_are_gates(kind, bits):
    planted = gate(kind, bits)
    logits = planted.model.logits(planted.pair.clean)
    assert planted.difference(logits).item() == pytest.approx(float({"and": all, "or": any}[kind](bits)))


def test_the_linear_model_is_linear():
    planted = linear()
    plain = split_by_hand(planted.model.module, "attention_only")
    begin, end = plain.embed(planted.corrupted).detach(), plain.embed(planted.clean).detach()
    ends = [run(plain, planted.clean, embedded=x).logits.detach() for x in (begin, end, 0.3 * begin + 0.7 * end)]
    torch.testing.assert_close(ends[2], 0.3 * ends[0] + 0.7 * ends[1], rtol=0, atol=1e-10)
    assert (ends[1] - ends[0]).abs().max() > 0.1
