"""The circuit of a task: against circuits run one by one, on the model that ships and on models that cannot."""

from functools import cache

import pytest
import torch

import workbench
from workbench import functional, tasks
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import edge_scores, runs
from workbench.circuits.judging import circuits_of, judged, ordered_edges
from workbench.circuits.split import split
from workbench.errors import BadInput
from workbench.testing import tiny_model

SHARES = (0.05, 0.1, 0.2, 1.0)


@cache
def micro():
    return workbench.load("micro")


@cache
def found(**options):
    return workbench.circuit(micro(), "induction", examples=12, shares=SHARES, draws=2, **options)


def test_finds_the_heads_that_copy():
    """Four heads of layer 1 read the token after the last copy from the embedding, and write the answer."""
    best = set(found().to_frame().head(8)["source"]) | set(found().to_frame().head(8)["slot"])
    assert best == {"input", "logits", *(f"a1.h{h}" for h in range(4)), *(f"a1.h{h}<v>" for h in range(4))}
    assert found().smallest(0.8) == 8
    assert found().cmd < 0.2 < 0.5 < found().cmd_random


def test_the_curve_is_what_its_circuits_give_when_run_alone():
    wiring = split(micro())
    task = tasks.task("induction", micro(), examples=12)
    scores = edge_scores(wiring, task.pairs(micro()), task.metric)
    order = functional.greedy_order(scores, wiring.graph.exists, wiring.graph.feeds)
    for size, expected in zip(found().sizes.tolist(), found().faithfulness.tolist(), strict=True):
        kept = functional.prune_edges(functional.first_edges(order, size, scores.shape), wiring.graph.feeds)
        values, clean, empty = [], [], []
        for one in runs(wiring, task.pairs(micro())):
            measure = one.measure(task.metric)
            values.append(measure(run_circuit(wiring, one.clean, one.other, kept)))
            clean.append(measure(one.clean.logits))
            empty.append(measure(one.corrupted.logits))
        value, full, none = (torch.cat(parts).mean() for parts in (values, clean, empty))
        assert expected == pytest.approx(((value - none) / (full - none)).item(), abs=1e-4)


def test_whole_graph_is_one_and_no_edge_is_nothing():
    result = workbench.circuit(micro(), "induction", examples=8, shares=(0.001, 1.0), draws=0, replace="zero")
    assert result.kept.tolist() == [0, 81]
    assert result.faithfulness.tolist() == pytest.approx([0.0, 1.0], abs=1e-5)
    assert any("less than one of 81 edges" in note for note in result.notes)


def test_a_circuit_of_any_size_is_taken_without_the_model():
    graph = found().circuit(8)
    assert graph.n_kept == 8
    assert set(graph.kept_edges()) >= {"input->a1.h2<v>", "a1.h2->logits"}
    assert found().circuit(0).n_kept == 0
    with pytest.raises(BadInput, match="81 edges"):
        found().circuit(82)


def test_circuits_nest_and_have_no_dead_ends():
    graph = found().graph
    order = ordered_edges(graph, found().scores, "top")
    small, large = circuits_of(graph, order, [10, 40])
    assert not (small & ~large).any()
    assert torch.equal(functional.prune_edges(large, graph.feeds), large)


def test_examples_are_judged_in_their_own_order():
    """Batches go by length; what is known of an example stays with it."""
    model = workbench.load("tiny:llama")
    task = tasks.draw("induction", model, examples=6)
    wiring = split(model)
    kept = wiring.graph.exists[None]
    together = judged(wiring, task.pairs(model, 4), task.metric, kept)
    alone = [judged(wiring, task.pairs(model, 1), task.metric, kept)]
    torch.testing.assert_close(together.clean, alone[0].clean, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.circuits, together.clean[None], atol=1e-5, rtol=0)


def test_a_model_that_cannot_is_refused_and_may_be_asked_all_the_same():
    model = tiny_model("gpt2")
    with pytest.raises(BadInput, match="does not do induction"):
        workbench.circuit(model, "induction", examples=8)
    control = workbench.circuit(model, "induction", examples=8, shares=(0.5, 1.0), anyway=True)
    assert control.accuracy < 0.9
    undefined = control.clean <= control.corrupted
    assert bool(control.faithfulness.isnan().all()) == undefined
    assert any("undefined" in note for note in control.notes) == undefined


def test_without_a_gap_there_is_no_share_of_it(tmp_path):
    """Clean and corrupted prompts the other way round: the model does worse on those called clean."""
    rows = ["clean,corrupted,target,foil"]
    for example in tasks.draw("induction", micro(), examples=8).examples:
        texts = [micro().processor.decode(list(ids[1:])) for ids in (example.corrupted, example.clean)]
        answers = [micro().token_text(ids[0]) for ids in (example.targets, example.foils)]
        if not any(mark in "".join(texts + answers) for mark in '",| \n'):
            rows.append(",".join([*texts, *answers]))
    path = tmp_path / "turned.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    result = workbench.circuit(micro(), str(path), examples=4, shares=SHARES, draws=0, anyway=True)
    assert result.clean < result.corrupted
    assert result.faithfulness.isnan().all()
    assert "undefined" in result.brief()[0]
    assert "nan" not in result.brief()[0]
    assert "80 %" not in result.brief()[0]


def test_sizes_are_put_in_order_and_refused_before_anything_runs():
    result = workbench.circuit(micro(), "induction", examples=8, shares=(0.2, 0.1, 0.2), draws=0)
    assert result.shares == (0.1, 0.2)
    assert result.cpr != result.cpr  # areas go up to the whole model
    assert "have 1 among the shares" in result.brief()[0]
    assert "nan" not in result.brief()[0]
    for bad in ((), (0.0, 1.0)):
        with pytest.raises(BadInput, match="above 0"):
            workbench.circuit(micro(), "no such task", shares=bad)


def test_acdc_says_what_its_threshold_leaves_and_judges_that():
    result = workbench.circuit(micro(), "induction", method="acdc", threshold=0.5, examples=7, shares=(1.0,), draws=0)
    kept = int((result.scores >= 0.5).sum())
    assert result.sizes.tolist() == [kept, 81]
    assert f"leaves {kept} of 81 edges" in result.notes[-1]
    nothing = workbench.circuit(micro(), "induction", method="acdc", threshold=1000, examples=7, shares=(1.0,), draws=0)
    assert "leaves no edge" in nothing.notes[-1]


def test_what_has_no_slope_is_not_ranked():
    with pytest.raises(BadInput, match="no slope"):
        workbench.circuit(micro(), "induction", method="eap", metric="kl", examples=8)


def test_frame_has_every_edge_once_best_first():
    frame = found().to_frame()
    assert len(frame) == 81
    assert not frame[["source", "slot"]].duplicated().any()
    assert frame["score"].abs().head(3).min() > frame["score"].abs().tail(40).max()
    text, table = found().brief()
    assert "81 edges" in text
    assert len(table) == 8
    assert len(found().figure().data) == 2


@pytest.mark.parametrize("method", ["exact", "acdc", "nodes", "weights", "eap-ig-activations"])
def test_every_method_makes_circuits(method):
    result = workbench.circuit(micro(), "induction", method=method, examples=7, shares=SHARES, draws=0)
    graph = result.graph
    assert graph.n_unscored == 0
    assert result.faithfulness[-1].item() == pytest.approx(1.0, abs=1e-4)
    if method in ("exact", "acdc", "eap-ig-activations"):  # nodes tell no edges apart, weights know of no task
        assert result.faithfulness[1] > 0.9


def test_random_weights_are_a_control_and_leave_the_model_as_it_was():
    weights = list(micro().module.parameters())
    before = [weight.clone() for weight in weights]
    control = workbench.circuit(micro(), "induction", examples=8, shares=SHARES, draws=0, untrained=True)
    assert all(torch.equal(now, then) for now, then in zip(weights, before, strict=True))
    assert control.accuracy < 0.9
    assert abs(control.clean) < 1 < found().clean
    assert "random" in control.notes[0]
