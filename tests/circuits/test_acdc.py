"""ACDC against the loop of the paper on a model split by hand, and on circuits that are known."""

from functools import cache

import pytest
import torch

from tests.analyses.attribution.plain_blocks import exact_model
from tests.circuits import brute_force
from tests.circuits.gates import gate
from tests.circuits.planted import PLANTED
from workbench.circuits import acdc
from workbench.circuits.acdc import acdc_circuit
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import runs
from workbench.circuits.split import split
from workbench.errors import BadInput
from workbench.functional import answer_metric
from workbench.tasks.form import Pair


@cache
def prompts(family):
    """Give the model in double precision and a pair of batches."""
    model, _ = exact_model(family)
    clean, corrupted = model.encode(["abab", "bcbc"]), model.encode(["adab", "dcbc"])
    pair = Pair(clean=clean, corrupted=corrupted, targets=torch.tensor([[1], [2]]), foils=torch.tensor([[3], [4]]),
                position=torch.tensor([4, 4]))  # fmt: skip
    return model, pair


def one_at_a_time(model, pair, graph, metric, threshold):
    """The loop of the paper, on the model split by hand: edges from the answer backwards."""
    plain, clean = brute_force.split_by_hand(model.module, model.family), pair.clean["input_ids"]
    with torch.no_grad():
        whole = brute_force.answer(brute_force.run(plain, clean).logits, pair.position)
        others = brute_force.run(plain, pair.corrupted["input_ids"]).writes
        edges = {tuple(name.split("->")) for name in graph.edge_names}

        def away(kept):
            logits = brute_force.answer(
                brute_force.circuit(plain, clean, others, kept, slots=graph.slots, edges=edges), pair.position
            )
            if metric == "kl":
                p, q = whole.log_softmax(-1), logits.log_softmax(-1)
                return (p.exp() * (p - q)).sum(-1).mean().item()
            values = [answer_metric(x, pair.targets, pair.foils, metric).mean().item() for x in (whole, logits)]
            return values[0] - values[1]

        kept, now = edges, 0.0
        for slot in reversed(graph.slot_names):
            for source in reversed(graph.sources):
                if (source, slot) in kept:
                    without = away(kept - {(source, slot)})
                    if without - now < threshold:
                        kept, now = kept - {(source, slot)}, without
    return {f"{source}->{slot}" for source, slot in kept}, now


@pytest.mark.parametrize(("family", "slots", "metric", "threshold"), [
    ("gpt2", "kv-head", "kl", 3e-5), ("gpt2", "kv-head", "logit-diff", 1e-3), ("llama", "kv-head", "log-prob", 1e-3),
])  # fmt: skip
def test_is_the_loop_of_one_edge_at_a_time(family, slots, metric, threshold):
    model, pair = prompts(family)
    wiring = split(model, slots=slots)
    expected, away = one_at_a_time(model, pair, wiring.graph, metric, threshold)
    found = acdc_circuit(wiring, [pair], metric, threshold=threshold)
    assert set(wiring.graph.with_(kept=found.kept).kept_edges()) == expected
    assert 3 < len(expected) < wiring.graph.n_edges - 3
    assert found.divergence == pytest.approx(away, abs=1e-9)
    assert bool((found.rises[found.kept] >= threshold).all())
    assert bool((found.rises[wiring.graph.exists & ~found.kept] < threshold).all())
    assert torch.equal(found.rises.isnan(), ~wiring.graph.exists)


def test_trying_several_at_once_changes_nothing_but_the_number_of_runs():
    model, pair = prompts("llama")
    wiring = split(model)
    many = acdc_circuit(wiring, [pair], threshold=1e-4)
    single = acdc_circuit(wiring, [pair], threshold=1e-4, numbers=1)
    assert torch.equal(many.kept, single.kept)
    torch.testing.assert_close(many.rises, single.rises, rtol=0, atol=1e-12, equal_nan=True)
    assert single.runs <= wiring.graph.n_edges


@pytest.mark.parametrize(
    ("name", "metric"), [(name, ("kl", "logit-diff")[i % 2]) for i, name in enumerate(PLANTED)] + [("induction", "kl")]
)
def test_finds_the_planted_circuit(name, metric):
    planted = PLANTED[name]()
    wiring = split(planted.model)
    found = acdc_circuit(wiring, [planted.pair], metric, threshold=0.01)
    assert set(wiring.graph.with_(kept=found.kept).kept_edges()) == planted.true
    one = next(runs(wiring, [planted.pair]))
    logits = run_circuit(wiring, one.clean, one.other, found.kept)
    before, after = (one.measure(metric)(x).mean().item() for x in (one.clean.logits, logits))
    assert found.divergence == pytest.approx(before - after, abs=1e-9)


def test_of_two_edges_that_stand_in_for_each_other_one_goes():
    """Either input of an OR is enough, so only the one that is tried last stays; an AND keeps both."""
    for kind, lost in (("and", set()), ("or", {"a0.h1->m0", "input->a0.h1<v>"})):
        planted = gate(kind)
        wiring = split(planted.model)
        found = acdc_circuit(wiring, [planted.pair], "logit-diff", threshold=0.1)
        assert set(wiring.graph.with_(kept=found.kept).kept_edges()) == planted.true - lost


def test_nothing_stays_at_a_high_threshold_and_batches_are_averaged():
    model, pair = prompts("gpt2")
    wiring = split(model)
    none = acdc_circuit(wiring, [pair], threshold=1000.0)
    one = next(runs(wiring, [pair]))
    assert not none.kept.any()
    assert none.divergence == pytest.approx(-one.measure("kl")(one.corrupted.logits).mean().item())
    halves = [
        Pair(clean={k: v[i : i + 1] for k, v in pair.clean.items()}, corrupted={k: v[i : i + 1] for k, v in
             pair.corrupted.items()}, targets=pair.targets[i : i + 1], foils=pair.foils[i : i + 1],
             position=pair.position[i : i + 1]) for i in range(2)
    ]  # fmt: skip
    whole, parts = (acdc_circuit(wiring, some, threshold=3e-5) for some in ([pair], halves))
    assert torch.equal(whole.kept, parts.kept)
    assert whole.divergence == pytest.approx(parts.divergence, abs=1e-12)


def test_edges_without_which_there_is_no_number_stay(monkeypatch):
    model, pair = prompts("gpt2")
    wiring = split(model)

    def broken(_wiring, clean, _other, kept, **_options):
        return clean.logits.repeat(len(kept), 1) * torch.nan

    monkeypatch.setattr(acdc, "run_circuit", broken)
    assert torch.equal(acdc_circuit(wiring, [pair]).kept, wiring.graph.exists)


def test_what_cannot_be_searched_is_said():
    model, pair = prompts("gpt2")
    with pytest.raises(BadInput, match="at least 0, not -1"):
        acdc_circuit(split(model), [pair], threshold=-1)
    with pytest.raises(BadInput, match="no example"):
        acdc_circuit(split(model), [])
