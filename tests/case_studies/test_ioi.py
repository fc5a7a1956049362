"""The indirect object study: what it measures against plain runs, and that a model that learned nothing fails it."""

import pytest
import torch

import workbench
from case_studies.ioi import edges, heads, prompts, study
from workbench import functional, studies, tasks
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import runs
from workbench.circuits.split import split
from workbench.studies.judging import verdicts

SMALL = study.Config(
    model="tiny:llama",
    prompts=8,
    examples=4,
    patched=2,
    top=6,
    random=6,
    heads=2,
    routes=2,
    shares=(0.01, 0.1, 0.5, 1.0),
)


@pytest.fixture(scope="module")
def wiring(tiny):
    return split(tiny("llama"))


@pytest.fixture(scope="module")
def task(tiny):
    return tasks.draw("induction", tiny("llama"), examples=4)


@pytest.fixture(scope="module")
def scores(wiring, task):
    return edges.scored(wiring, task, "eap-ig", 3)


@pytest.fixture(scope="module")
def table(wiring, task, scores):
    return heads.head_table(wiring, task, scores)


def test_exchanged_names_stand_where_the_other_was(task):
    for before, after in zip(task.examples, prompts.exchanged(task).examples, strict=True):
        (target,), (foil,) = before.targets, before.foils
        swap = {target: foil, foil: target}
        assert after.clean == tuple(swap.get(token, token) for token in before.clean)
        assert after.clean != before.clean
        assert (after.corrupted, after.targets, after.foils) == (before.corrupted, before.targets, before.foils)


def test_random_weights_are_of_the_seed_alone(tiny):
    model = tiny("llama")
    one, again, other = (prompts.untrained(model, seed).module.state_dict() for seed in (0, 0, 1))
    name = next(name for name in one if name.endswith("q_proj.weight"))
    assert torch.equal(one[name], again[name])
    assert not torch.equal(one[name], other[name])
    assert not torch.equal(one[name], model.module.state_dict()[name])


def test_direct_effects_of_all_sources_are_the_logit_difference(wiring, task):
    for one in runs(wiring, task.pairs(wiring.model)):
        expected = functional.answer_metric(one.clean.logits, one.pair.targets, one.pair.foils, "logit-diff")
        torch.testing.assert_close(heads.direct_effects(wiring, one).sum(0), expected, atol=1e-4, rtol=1e-4)


def test_a_patched_head_is_a_circuit_without_its_edges(wiring, task, table):
    names = table["node"].tolist()
    found = heads.exact_heads(wiring, task, names)
    for name in names:
        kept = wiring.graph.exists.clone()
        kept[wiring.graph.source_index(name)] = False
        drops = []
        for one in runs(wiring, task.pairs(wiring.model)):
            measure = one.measure("logit-diff")
            drops.append(measure(one.clean.logits) - measure(run_circuit(wiring, one.clean, one.other, kept)))
        assert found[name] == pytest.approx(float(torch.cat(drops).mean()), abs=1e-5)
    assert max(map(abs, found.values())) > 1e-3


def test_heads_look_where_their_patterns_say(wiring, task, table, scores):
    model, rows = wiring.model, []
    for example in task.examples:
        with torch.no_grad(), workbench.reading(model, "blocks.1.attn.pattern") as values:
            model.module(input_ids=torch.tensor([example.clean]))
        pattern = values["blocks.1.attn.pattern"][0, 2, example.position].tolist()
        whole = values["blocks.1.attn.pattern"][0, 2]
        giver = [i for i, token in enumerate(example.clean) if token == example.foils[0]]
        rows.append(
            [
                sum(p for p, token in zip(pattern, example.clean, strict=True) if token == example.targets[0]),
                sum(pattern[i] for i in giver[:1]),
                sum(pattern[i] for i in giver[1:]),
                pattern[0],
                float(whole[giver[1], giver[0]]) if len(giver) > 1 else 0.0,
                float(whole[giver[1], giver[0] + 1]) if len(giver) > 1 else 0.0,
            ]
        )
    found = table[table["node"] == "a1.h2"].iloc[0]
    expected = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    assert found[[*heads.PLACES, *heads.EARLIER]].tolist() == pytest.approx(expected, abs=1e-5)
    assert found["score"] == pytest.approx(float(scores[wiring.graph.source_index("a1.h2")].nansum()), abs=1e-5)


def test_the_second_mention_looks_at_the_first_and_at_what_followed():
    pattern = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([9, 4, 5, 1, 2, 5, 3])  # the giver, 5, stands at 2 and 5, the receiver, 4, at 1
    found = heads.look(pattern, ids, 6, torch.tensor(4), torch.tensor(5))
    expected = [pattern[..., 6, 1], pattern[..., 6, 2], pattern[..., 6, 5], pattern[..., 6, 0]]
    expected += [pattern[..., 5, 2], pattern[..., 5, 3]]
    assert torch.equal(found, torch.stack(expected, -1))


def test_routes_are_summed_over_prompts(tiny, task):
    model = tiny("llama")
    table = heads.route_table(model, task, 0.02).set_index(["layer", "head"])
    total: dict = {}
    for example in task.examples:
        route = workbench.routes(model, example.clean, threshold=0.02).route()
        for row in route[route["kind"] == "attention"].to_dict("records"):
            place = row["layer"], row["head"]
            total[place] = total.get(place, 0.0) + row["share"] / len(task)
    assert len(table)
    assert table["route"].to_dict() == pytest.approx(total)
    assert table["on routes"].between(0, 1).all()


def test_edges_are_sampled_once_each_the_largest_first(wiring, scores):
    exists = wiring.graph.exists
    mask = edges.sampled(scores, exists, 5, 7, seed=1)
    assert int(mask.sum()) == 12
    assert not bool((mask & ~exists).any())
    assert set(functional.top_order(scores, exists)[:5].tolist()) <= set(mask.flatten().nonzero()[:, 0].tolist())
    assert torch.equal(mask, edges.sampled(scores, exists, 5, 7, seed=1))
    assert torch.equal(edges.sampled(scores, exists, 5, int(exists.sum()) - 5, seed=1), exists)
    assert not torch.equal(mask, edges.sampled(scores, exists, 5, 7, seed=2))


def test_a_patched_edge_is_a_circuit_without_it(wiring, task, scores):
    mask = edges.sampled(scores, wiring.graph.exists, 3, 3, seed=0)
    found = edges.against_patching(wiring, task, mask, {"eap-ig": scores})
    for row in found.to_dict("records"):
        kept = wiring.graph.exists.clone()
        kept[wiring.graph.edge(row["edge"])] = False
        drops = []
        for one in runs(wiring, task.pairs(wiring.model)):
            measure = one.measure("logit-diff")
            drops.append(measure(one.clean.logits) - measure(run_circuit(wiring, one.clean, one.other, kept)))
        assert row["exact"] == pytest.approx(float(torch.cat(drops).mean()), abs=1e-5)
        assert row["eap-ig"] == float(scores[wiring.graph.edge(row["edge"])])


@pytest.fixture(scope="module")
def of_a_random_model():
    """The whole study where nothing was learned, on random tokens, which any model can read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompts, "NAME", "induction")
        yield study.run(SMALL)


def test_a_model_that_learned_nothing_fails_the_claims_about_a_trained_one(of_a_random_model):
    found = {v.claim.quantity: v for v in verdicts(of_a_random_model, studies.study("ioi").claims)}
    assert not [name for name, verdict in found.items() if verdict.outcome == "fails" and not verdict.values]
    for name in FAILS:
        assert found[name].outcome == "fails", found[name]
    assert found["untrained.refused"].outcome == "holds"


FAILS = ("answers.accuracy", "answers.difference", "exchanged.difference", "heads.movers", "heads.best_direct")


def test_tables_and_figures_are_complete(of_a_random_model):
    assert set(of_a_random_model.tables) == {"Answers", "Heads", "Faithfulness", "Patched edges", "Top edges"}
    assert set(of_a_random_model.figures) == {"Heads", "Faithfulness", "Patched edges", "Routes"}
    table = of_a_random_model.tables["Heads"]
    assert int(table["patched"].notna().sum()) == 4
    assert table["score"].abs().is_monotonic_decreasing
    curve = of_a_random_model.tables["Faithfulness"]
    whole = curve[(curve["share"] == 1) & (curve["model"] == "trained")]
    assert whole["faithfulness"].tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    assert set(curve["by"]) == {"size", "help", "random 0"}
