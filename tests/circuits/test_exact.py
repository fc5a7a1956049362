"""Exact patching against a plain edge patcher, against runs of circuits that lack one edge, and on planted circuits."""

from functools import cache

import pytest
import torch

from tests.analyses.attribution.plain_blocks import exact_model
from tests.circuits import brute_force
from tests.circuits.gates import gate
from tests.circuits.planted import PLANTED, linear
from workbench import functional, progress
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import edge_scores, runs
from workbench.circuits.exact import exact_scores
from workbench.circuits.split import split
from workbench.errors import BadInput
from workbench.functional import answer_metric
from workbench.tasks.form import Pair

model_of = cache(exact_model)


@cache
def prompts(family):
    """Give a double-precision model, three pairs of one length that differ in places, and the metric of logits."""
    model, example = model_of(family)
    position = torch.tensor([9, 7, 9])
    if model.reads == "text":
        clean = model.encode(["abcabcabc", "bcabcabca", "cabcabcab"])
        corrupted = model.encode(["abcabcdbc", "bcabdabca", "daccabbab"])
        position = position.clamp(max=clean["input_ids"].shape[1] - 1)
    else:
        pixels = {name: x.double() for name, x in model.encode(example).items()}
        clean = {name: x.repeat(3, 1, 1, 1) for name, x in pixels.items()}
        noise = torch.randn(clean["pixel_values"].shape, generator=torch.Generator().manual_seed(0))
        corrupted, position = {"pixel_values": clean["pixel_values"] + noise.double()}, torch.zeros(3, dtype=torch.long)
    pair = Pair(clean=clean, corrupted=corrupted, targets=torch.tensor([[1], [2], [4]]),
                foils=torch.tensor([[3], [0], [1]]), position=position)  # fmt: skip

    def metric(logits):
        return answer_metric(brute_force.answer(logits, position), pair.targets, pair.foils, "logit-diff").mean()

    return model, pair, metric


def as_tensor(graph, scores):
    table = torch.full(graph.exists.shape, torch.nan, dtype=torch.float64)
    for (source, slot), score in scores.items():
        table[graph.source_index(source), graph.slot_index(slot)] = score
    return table


def close(found, expected, size=1e-9):
    torch.testing.assert_close(found, expected, rtol=0, atol=size, equal_nan=True)


@pytest.mark.parametrize(("family", "options"), [
    ("micro", {}), ("gpt2", {}), ("gpt2", {"neurons": (1,)}), ("llama", {"slots": "query-head"}),
    ("llama", {"slots": "kv-head"}), ("neox", {}),
], ids=str)  # fmt: skip
def test_is_what_a_plain_edge_patcher_finds(family, options):
    model, pair, metric = prompts(family)
    wiring = split(model, **options)
    ids = [batch["input_ids"] for batch in (pair.clean, pair.corrupted)]
    plain = brute_force.split_by_hand(model.module, model.family)
    options = {"slots": "kv-head"} | options
    edges = [tuple(name.split("->")) for name in wiring.graph.edge_names]
    edges = edges[:: 1 + len(edges) // 120]  # each, where they are few
    expected = as_tensor(wiring.graph, brute_force.exact(plain, *ids, metric, edges=edges, **options))
    assert expected.nan_to_num().abs().max() > 1e-3
    found = exact_scores(wiring, [pair], "logit-diff")
    assert torch.equal(found.isnan(), ~wiring.graph.exists)
    close(found.masked_fill(expected.isnan(), torch.nan), expected)


@pytest.mark.parametrize("family", ["bert", "albert", "electra", "vit", "neox"])
def test_is_a_circuit_that_lacks_one_edge(family):
    """Also of norms that follow the sums, of blocks that all layers share, and of pictures."""
    model, pair, metric = prompts(family)
    wiring = split(model)
    edges = wiring.graph.edges
    one = next(runs(wiring, [pair]))
    before = metric_of(one, one.clean.logits)
    kept = wiring.graph.exists.repeat(len(edges), 1, 1)
    kept[torch.arange(len(edges)), edges[:, 0], edges[:, 1]] = False
    expected = torch.full(wiring.graph.exists.shape, torch.nan, dtype=torch.float64)
    for some, which in zip(kept.split(16), edges.split(16), strict=True):
        after = metric_of(one, run_circuit(wiring, one.clean, one.other, some))
        expected[which[:, 0], which[:, 1]] = (before[None] - after.view(len(some), -1)).mean(1)
    close(exact_scores(wiring, [pair], "logit-diff"), expected, 1e-8)


def metric_of(one, logits):
    copies = len(logits) // len(one.pair)
    return one.measure("logit-diff", copies)(logits)


def test_at_one_position():
    model, pair, metric = prompts("gpt2")
    wiring = split(model)
    found = exact_scores(wiring, [pair], "logit-diff", positions=True)
    plain = brute_force.split_by_hand(model.module, model.family)
    clean, other = (brute_force.run(plain, batch["input_ids"]) for batch in (pair.clean, pair.corrupted))
    before, n_pos = metric(clean.logits), pair.clean["input_ids"].shape[1]
    with torch.no_grad():
        for place in range(n_pos):
            here = (torch.arange(n_pos) == place)[:, None]
            expected = {
                (source, slot): before - metric(brute_force.run(plain, pair.clean["input_ids"], {
                    slot: {source: other.writes[source].where(here, clean.writes[source])}}).logits)
                for source, slot in [("input", "a0.h1<k>"), ("a0.h0", "m0"), ("m0", "a1.h1<v>"), ("m0", "logits")]
            }  # fmt: skip
            for (source, slot), score in expected.items():
                mine = found[place, wiring.graph.source_index(source), wiring.graph.slot_index(slot)]
                assert mine.item() == pytest.approx(score.item(), abs=1e-12)
    assert found.shape == (n_pos, *wiring.graph.exists.shape)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_little_memory_some_edges_and_batches_change_nothing(family):
    model, pair, _ = prompts(family)
    wiring = split(model)
    whole = exact_scores(wiring, [pair], "kl")
    close(exact_scores(wiring, [pair], "kl", numbers=1), whole, 1e-12)
    asked = wiring.graph.exists & (torch.rand(whole.shape, generator=torch.Generator().manual_seed(0)) < 0.3)
    some = exact_scores(wiring, [pair], "kl", edges=asked)
    close(some, whole.masked_fill(~asked, torch.nan), 1e-12)
    parts = [
        Pair(clean={k: v[rows] for k, v in pair.clean.items()}, corrupted={k: v[rows] for k, v in
             pair.corrupted.items()}, targets=pair.targets[rows], foils=pair.foils[rows], position=pair.position[rows])
        for rows in (slice(0, 2), slice(2, 3))
    ]  # fmt: skip
    close(exact_scores(wiring, parts, "kl"), whole, 1e-12)


def test_progress_counts_edges():
    model, pair, _ = prompts("gpt2")
    wiring, heard = split(model), []
    with progress.reporting(lambda label, done, total: heard.append((label, done, total))):
        exact_scores(wiring, [pair, pair], "logit-diff", numbers=1)
    edges = [(done, total) for label, done, total in heard if label == "edges"]
    assert edges == sorted(edges)
    assert edges[-1] == (2 * wiring.graph.n_edges, 2 * wiring.graph.n_edges)
    assert len(edges) > wiring.graph.n_edges


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_circuit_comes_first_and_dead_heads_never_stay(name):
    planted = PLANTED[name]()
    wiring = split(planted.model)
    graph = wiring.graph
    methods = {"exact": exact_scores(wiring, [planted.pair], "logit-diff")}
    for method in ("eap", "eap-ig", "eap-ig-activations", "clean-corrupted"):
        methods[method] = edge_scores(wiring, [planted.pair], "logit-diff", method=method)
    true = torch.zeros_like(graph.exists)
    for edge in planted.true:
        true[graph.edge(edge)] = True
    rest = graph.exists & ~true
    dead = torch.tensor([source in planted.dead for source in graph.sources])
    into_dead = torch.tensor([slot.split("<")[0] in planted.dead for slot in graph.slot_names])
    for method, scores in methods.items():
        assert scores[true].min() > 30 * scores[rest].abs().max(), method
        assert functional.edge_auroc(scores.flatten(), true.flatten()) == 1
        assert torch.equal(functional.top_edges(scores, graph.exists, len(planted.true)), true)
        assert torch.equal(functional.greedy_edges(scores, graph.exists, graph.feeds, len(planted.true)), true)
        assert torch.equal(functional.prune_edges(true, graph.feeds), true)
        assert scores[dead].nan_to_num().abs().max() == 0
        assert scores[:, into_dead].nan_to_num().abs().max() == 0
        live = functional.top_edges(scores, graph.exists, int((scores.nan_to_num() != 0).sum()))
        assert not live[dead].any()
        assert not live[:, into_dead].any()


@pytest.mark.parametrize(("kind", "clean", "seen"), [
    ("and", (1, 1), True), ("and", (0, 0), False), ("or", (1, 1), False), ("or", (0, 0), True),
])  # fmt: skip
def test_inputs_of_gates_are_seen_from_one_side_only(kind, clean, seen):
    """From (1, 1) edges are noised, from (0, 0) denoised: an OR is not seen by the first, an AND not by the second."""
    planted = gate(kind, clean, tuple(1 - bit for bit in clean))
    scores = exact_scores(wiring := split(planted.model), [planted.pair], "logit-diff")
    for name in sorted(planted.true - {"m0->logits"}):
        assert abs(scores[wiring.graph.edge(name)].item()) == pytest.approx(float(seen), abs=1e-9)
    assert abs(scores[wiring.graph.edge("m0->logits")].item()) == pytest.approx(1)


def test_in_a_linear_model_all_methods_are_one_and_swapping_turns_signs():
    planted = linear()
    wiring = split(planted.model)
    exact = exact_scores(wiring, [planted.pair], "logit-diff")
    assert exact.nan_to_num().abs().max() > 0.01
    for method in ("eap", "eap-ig", "eap-ig-activations", "clean-corrupted"):
        close(edge_scores(wiring, [planted.pair], "logit-diff", method=method), exact)
        close(edge_scores(wiring, [planted.swapped], "logit-diff", method=method), -exact)
    close(exact_scores(wiring, [planted.swapped], "logit-diff"), -exact)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_nothing_corrupted_changes_nothing(family):
    model, pair, _ = prompts(family)
    same = Pair(clean=pair.clean, corrupted=pair.clean, targets=pair.targets, foils=pair.foils, position=pair.position)
    scores = exact_scores(wiring := split(model), [same], "logit-diff")
    assert torch.equal(scores == 0, wiring.graph.exists)


@pytest.mark.parametrize("replace", ["zero", "mean"])
def test_other_replacements(replace):
    model, pair, metric = prompts("gpt2")
    wiring = split(model)
    one = next(runs(wiring, [pair], replace))
    plain = brute_force.split_by_hand(model.module, model.family)
    scores = exact_scores(wiring, [pair], "logit-diff", replace=replace)
    with torch.no_grad():
        before = metric(brute_force.run(plain, pair.clean["input_ids"]).logits)
        for name in ("m0->a1.h0<k>", "a0.h1->m0", "input->logits"):
            source, slot = name.split("->")
            other = one.other[wiring.graph.source_index(source)]
            after = metric(brute_force.run(plain, pair.clean["input_ids"], {slot: {source: other}}).logits)
            assert scores[wiring.graph.edge(name)].item() == pytest.approx((before - after).item(), abs=1e-12)


def test_what_cannot_be_scored_is_said():
    model, pair, _ = prompts("gpt2")
    wiring = split(model)
    with pytest.raises(BadInput, match="no example"):
        exact_scores(wiring, [], "logit-diff")
    with pytest.raises(BadInput, match=r"\(source, slot\) = \(7, 15\).*float32"):
        exact_scores(wiring, [pair], "logit-diff", edges=torch.ones(7, 15))
    with pytest.raises(BadInput, match="59 of the edges to score are not in this graph"):
        exact_scores(wiring, [pair], "logit-diff", edges=torch.ones(7, 15, dtype=torch.bool))
    short = model.encode(["abc"])
    other = Pair(clean=short, corrupted=short, targets=pair.targets[:1], foils=pair.foils[:1],
                 position=torch.tensor([3]))  # fmt: skip
    with pytest.raises(BadInput, match="10 and 4 tokens"):
        exact_scores(wiring, [pair, other], "logit-diff", positions=True)
