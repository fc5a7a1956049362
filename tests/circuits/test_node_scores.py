"""Scores of nodes against small steps along what they write, sums over edges, and planted circuits."""

import pytest
import torch

from tests.analyses.attribution.plain_blocks import exact_model
from tests.circuits import brute_force
from tests.circuits.planted import PLANTED, linear
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import edge_scores, runs
from workbench.circuits.exact import exact_scores
from workbench.circuits.graph import circuit_graph
from workbench.circuits.node_scores import node_attributions, spread_to_edges
from workbench.circuits.split import split
from workbench.errors import BadInput
from workbench.functional import answer_metric
from workbench.tasks.form import Pair


def prompts(model):
    clean, corrupted = model.encode(["abcab", "bcabc"]), model.encode(["abdab", "dcbbc"])
    last = torch.full((2,), clean["input_ids"].shape[1] - 1)
    return Pair(clean=clean, corrupted=corrupted, targets=torch.tensor([[1], [2]]), foils=torch.tensor([[3], [4]]),
                position=last)  # fmt: skip


@pytest.mark.parametrize(("family", "neurons"), [("gpt2", (0,)), ("llama", ()), ("neox", ())])
def test_is_the_slope_along_what_a_node_writes(family, neurons):
    """By a small step of the write, in all slots that read it, on the model split by hand."""
    model, _ = exact_model(family)
    pair, wiring = prompts(model), split(model, neurons=neurons)
    plain, step = brute_force.split_by_hand(model.module, model.family), 1e-5
    each = torch.zeros(2, len(wiring.graph.sources), dtype=torch.float64)
    with torch.no_grad():
        clean, other = (
            brute_force.run(plain, batch["input_ids"], neurons=neurons) for batch in (pair.clean, pair.corrupted)
        )
        for number, source in enumerate(wiring.graph.sources):
            ends = []
            for way in (-step, step):
                write = clean.writes[source] + way * (clean.writes[source] - other.writes[source])
                carried = {slot: {source: write} for slot, seen in clean.sees.items() if source in seen}
                logits = brute_force.run(plain, pair.clean["input_ids"], carried, neurons=neurons).logits
                last = brute_force.answer(logits, pair.position)
                ends.append(answer_metric(last, pair.targets, pair.foils, "logit-diff"))
            each[:, number] = (ends[1] - ends[0]) / (2 * step)
    found = node_attributions(wiring, [pair], "logit-diff")
    hisp = node_attributions(wiring, [pair], "logit-diff", absolute=True)
    torch.testing.assert_close(found, each.mean(0), rtol=0, atol=1e-7)
    torch.testing.assert_close(hisp, each.abs().mean(0), rtol=0, atol=1e-7)
    assert (hisp - found.abs()).max() > 1e-4  # the two examples disagree about some node


@pytest.mark.parametrize("family", ["llama", "bert", "neox", "micro"])
def test_a_node_is_the_sum_of_its_edges(family):
    model, _ = exact_model(family)
    pair, wiring = prompts(model), split(model)
    edges = edge_scores(wiring, [pair, pair], "logit-diff", method="eap")
    torch.testing.assert_close(node_attributions(wiring, [pair, pair], "logit-diff"), edges.nansum(1))


def test_in_a_linear_model_it_is_exact():
    planted = linear()
    wiring = split(planted.model)
    one, exists = next(runs(wiring, [planted.pair])), wiring.graph.exists
    kept = exists.repeat(wiring.n_sources, 1, 1)
    kept[torch.arange(wiring.n_sources), torch.arange(wiring.n_sources)] = False
    after = one.measure("logit-diff", wiring.n_sources)(run_circuit(wiring, one.clean, one.other, kept))
    drops = one.measure("logit-diff")(one.clean.logits).mean() - after.view(wiring.n_sources, -1).mean(1)
    found = node_attributions(wiring, [planted.pair], "logit-diff")
    torch.testing.assert_close(found, drops, rtol=0, atol=1e-9)
    torch.testing.assert_close(found, exact_scores(wiring, [planted.pair], "logit-diff").nansum(1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("name", PLANTED)
def test_planted_nodes_come_first_and_dead_ones_have_nothing(name, absolute):
    planted = PLANTED[name]()
    wiring = split(planted.model)
    scores = node_attributions(wiring, [planted.pair], "logit-diff", absolute=absolute)
    true = {edge.split("->")[0] for edge in planted.true}
    inside = torch.tensor([source in true for source in wiring.graph.sources])
    assert scores[inside].abs().min() > 20 * scores[~inside].abs().max()
    assert all(scores[wiring.graph.source_index(node)] == 0 for node in planted.dead)


def test_an_edge_is_worth_the_lesser_of_its_ends():
    graph = circuit_graph(n_layers=2, n_heads=2, n_kv_heads=1, mlps=True, slots="kv-head")
    worth = {"input": 5.0, "a0.h0": -4.0, "a0.h1": 1.0, "m0": 0.5, "a1.h0": 2.0, "a1.h1": -3.0, "m1": 0.25}
    edges = spread_to_edges(graph, torch.tensor([worth[name] for name in graph.sources]))
    expected = {"input->a0.h0<q>": 4.0, "a0.h0->a1.h0<q>": 2.0, "a0.h0->a1.kv0<k>": 3.0, "a0.h1->a1.kv0<v>": 1.0,
                "m0->m1": 0.25, "a1.h1->logits": 3.0, "input->logits": 5.0}  # fmt: skip
    for name, score in expected.items():
        assert edges[graph.edge(name)].item() == score, name
    assert torch.equal(edges.isnan(), ~graph.exists)
    with pytest.raises(BadInput, match="7 nodes that write"):
        spread_to_edges(graph, torch.ones(8))


def test_no_example_is_a_sentence():
    model, _ = exact_model("gpt2")
    with pytest.raises(BadInput, match="no example"):
        node_attributions(split(model), [], "logit-diff")
