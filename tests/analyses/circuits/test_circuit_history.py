"""A circuit over checkpoints: the model that ships, mixed with noise, stands for a model in training."""

import copy
import dataclasses
import gc
import weakref
from functools import cache

import pytest
import torch

import workbench
from workbench import BadInput, MissingCapability, functional, tasks
from workbench.analyses.circuits.circuit_history import _with_before
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import edge_scores, runs
from workbench.circuits.split import split

STEPS = (0, 80, 100)
"""Per cent of the trained weights; the rest is noise."""
FEW = {"examples": 24, "shares": (0.05, 0.2)}


@cache
def micro():
    return workbench.load("micro")


def checkpoint(step):
    module, random = copy.deepcopy(micro().module), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            noise = 0.2 * torch.randn(weight.shape, generator=random)
            weight.copy_(weight * step / 100 + noise * (1 - step / 100))
    return workbench.adapt(module, micro().processor, name=f"step {step}")


@cache
def history(task="induction-match", **options):
    return workbench.circuit_history(STEPS, checkpoint, task, **{**FEW, **options})


@cache
def recorded(step):
    wiring = split(checkpoint(step))
    drawn = tasks.draw("induction-match", wiring.model, examples=24)
    return wiring, drawn, list(runs(wiring, drawn.pairs(wiring.model)))


def faithfulness_of(step, kept):
    """One circuit by itself: (its metric, its share of the gap)."""
    (wiring, drawn, batches), rows = recorded(step), []
    for one in batches:
        measure = one.measure(drawn.metric)
        logits = (run_circuit(wiring, one.clean, one.other, kept), one.clean.logits, one.corrupted.logits)
        rows.append(torch.stack([measure(x) for x in logits]))
    value, clean, corrupted = torch.cat(rows, 1).mean(1).tolist()
    return value, (value - corrupted) / (clean - corrupted)


def test_the_smallest_faithful_circuit_is_that_of_trying_every_size():
    (wiring, drawn, _), result = recorded(80), history()
    scores = edge_scores(wiring, drawn.pairs(wiring.model), "logit-diff")
    order = functional.greedy_order(scores, wiring.graph.exists, wiring.graph.feeds)
    for size in range(1, 82):
        kept = functional.prune_edges(functional.first_edges(order, size, scores.shape), wiring.graph.feeds)
        value = faithfulness_of(80, kept)[1]
        if value >= 0.8:
            break
    at = STEPS.index(80)
    assert result.size[at] == size > 5
    assert result.kept[at] == kept.sum()
    assert result.reached[at].item() == pytest.approx(value, abs=1e-4)
    assert torch.equal(result.present[at], functional.kept_nodes(kept, wiring.graph.feeds))


def test_one_circuit_is_followed_through_all_steps():
    result = history()
    kept = result.graph.kept
    assert kept.sum() == result.kept[-1]
    assert result.graph.about["step"] == 100
    for at, step in enumerate(STEPS):
        value, share = faithfulness_of(step, kept)
        assert result.last_metric[at].item() == pytest.approx(value, abs=1e-4)
        if result.does[at]:
            assert result.last_circuit[at].item() == pytest.approx(share, abs=1e-4)
    assert result.last_circuit[-1] == result.reached[-1] >= 0.8


def test_a_checkpoint_that_does_not_do_the_task_is_a_null():
    result = history()
    assert result.does.tolist() == [False, True, True]
    assert result.size[0] == result.kept[0] == 0
    for values in (result.reached, result.random, result.last_circuit, result.node_jaccard, result.smoothed_jaccard):
        assert values[0].isnan()
    assert result.faithfulness[0].isnan().all()
    assert not result.present[0].any()
    (note,) = result.notes
    assert note.startswith("step 0: step 0 does not do induction-match: by targets ahead of foils, accuracy")
    frame = result.to_frame()
    assert frame["does"].tolist() == frame["found"].tolist() == [0, 1, 1]
    assert "first done at step 80" in result.brief()[0]
    assert (result.random[1:] < 0.5).all()


def test_anyway_looks_for_a_circuit_all_the_same():
    result = workbench.circuit_history([0], checkpoint, "induction-match", anyway=True, **FEW)
    assert result.does.tolist() == [False]
    assert not result.faithfulness.isnan().any()


def test_models_are_loaded_one_at_a_time_the_last_first():
    loaded, alive, said = [], [], []

    def load(step):
        gc.collect()
        assert not [ref for ref in alive if ref() is not None], "an earlier model is still held"
        model = checkpoint(step)
        loaded.append(step)
        alive.append(weakref.ref(model.module))
        return model

    with workbench.reporting(lambda label, done, total: said.append((label, done, total))):
        workbench.circuit_history([100, 0, 80], load, "induction", examples=2, shares=(0.2,))
    assert loaded == [100, 0, 80]
    assert [done for label, done, total in said if label == "checkpoints of induction"] == [0, 1, 2, 3]


def test_overlap_from_step_to_step_by_sets():
    """Three checkpoints whose circuits are known, after one without."""
    result = history()
    rows = [set(), {0, 1, 2, 9}, {0, 2, 9}, {0, 2, 3, 9}]
    present = torch.tensor([[i in row for i in range(10)] for row in rows])
    found = _with_before(present)
    assert found[:2].isnan().all()
    assert found[2:].tolist() == pytest.approx([3 / 4, 3 / 4])
    longer = dataclasses.replace(result, present=present[1:], steps=(10, 20, 30))
    frame = longer.appearances().set_index("node")
    names = result.nodes
    assert dict(frame["first"]) == {names[i]: at for i, at in ((0, 10), (1, 10), (2, 10), (3, 30), (9, 10))}
    assert frame.loc[names[1], "last_seen"] == 10
    assert frame.loc[names[0], "checkpoints"] == 3
    lasting = longer.appearances(lasting=2)
    assert lasting["first"].tolist() == [10, 10, 10, -1, -1]
    assert set(lasting["node"][3:]) == {names[1], names[3]}


def test_numbers_of_overlap():
    result = history()
    both = [set(row.nonzero()[:, 0].tolist()) for row in result.present]
    assert result.node_jaccard[2].item() == pytest.approx(len(both[1] & both[2]) / len(both[1] | both[2]))
    assert result.node_jaccard[1].isnan()
    assert result.smoothed_jaccard[2] == result.node_jaccard[2]
    assert result.edge_jaccard[2] <= 1


def test_the_circuit_of_every_step_is_kept():
    result = history()
    for at, step in enumerate(STEPS):
        circuit = result.circuit(step)
        assert circuit.n_kept == result.kept[at]
        assert torch.equal(functional.kept_nodes(circuit.kept, circuit.feeds), result.present[at])
        assert torch.equal(~circuit.scores.isnan(), circuit.kept)
        assert circuit.about["step"] == step
    wiring, drawn, _ = recorded(80)
    scores = edge_scores(wiring, drawn.pairs(wiring.model), "logit-diff")
    circuit = result.circuit(80)
    assert torch.allclose(circuit.scores[circuit.kept], scores[circuit.kept], atol=1e-5)
    assert result.circuit(100).kept_edges() == result.graph.kept_edges()
    with pytest.raises(BadInput, match="no checkpoint at step 7; there are 0, 80, 100"):
        result.circuit(7)


def test_a_circuit_may_be_given():
    graph = workbench.circuit_graph(micro())
    given = graph.with_(kept=graph.exists.clone())
    result = workbench.circuit_history([80, 100], checkpoint, "induction", circuit=given, **FEW)
    assert result.last_circuit.tolist() == pytest.approx([1, 1], abs=1e-5)
    assert result.graph.n_kept == 81


def test_it_is_drawn_and_comes_back_from_a_file(tmp_path):
    result = history()
    again = workbench.load_result(result.save(tmp_path / "history.safetensors"))
    assert again.to_frame().equals(result.to_frame())
    assert again.graph.kept_edges() == result.graph.kept_edges()
    assert len(result.figure().data) == 4
    assert len(result.figure(of="size").data) == 2
    assert len(result.figure(of="overlap").data) == 3
    names = [trace.name for of in ("faithfulness", "size", "overlap") for trace in result.figure(of=of).data]
    assert not any("_" in name for name in names) and len(set(names)) == 9
    assert len(result.curve_frame()) == 6
    assert result.meta["params"]["task"] == "induction-match"
    assert result.meta["analysis"] == "circuit-history"


def test_no_circuit_at_all():
    result = workbench.circuit_history([0], checkpoint, "induction-match", **FEW)
    assert result.graph is None
    assert result.circuit(0).n_kept == 0
    assert result.last_metric.isnan().all()
    assert "no checkpoint of 1 does it" in result.brief()[0]
    assert len(result.appearances()) == 0
    result.figure()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": ()}, "one or more checkpoints"),
        ({"steps": (1, 1)}, "each once"),
        ({"steps": (True,)}, "whole numbers"),
        ({"target": 0.0}, "above 0 and up to 1"),
        ({"most": 1.5}, "share of the edges"),
        ({"shares": (2.0,)}, "from 0 to 1"),
        ({"circuit": workbench.circuit_graph(n_layers=2, n_heads=8, mlps=False)}, "8 heads, not 4"),
    ],
)
def test_what_cannot_be_followed(change, sentence):
    steps = change.pop("steps", (100,))
    with pytest.raises(BadInput, match=sentence):
        workbench.circuit_history(steps, checkpoint, "induction", **{**FEW, **change})


def test_checkpoints_are_of_one_shape(tiny):
    models = {0: micro(), 1: tiny("gpt2")}
    with pytest.raises(BadInput, match="does not fit micro"):
        workbench.circuit_history([0, 1], models.get, "induction", anyway=True, **FEW)
    llama = tiny("llama")
    other = workbench.circuit_graph(llama, slots="query-head")
    with pytest.raises(BadInput, match="counts keys and values otherwise"):
        workbench.circuit_history([0], lambda step: llama, "induction", circuit=other, **FEW)
    with pytest.raises(MissingCapability):
        workbench.circuit_history([0], lambda step: tiny("mamba"), "induction", **FEW)


@pytest.mark.parametrize(("gives", "what"), [(None, "nothing"), ("micro", "str")])
def test_what_is_no_model_is_said(gives, what):
    with pytest.raises(BadInput, match=f"as workbench.load does; for step 1 it gave {what}."):
        workbench.circuit_history([1], lambda step: gives)


def test_a_circuit_of_another_width_is_refused():
    other = workbench.circuit_graph(micro()).with_(d_model=999)
    with pytest.raises(BadInput, match="it has 999 dimensions, not"):
        workbench.circuit_history([100], checkpoint, circuit=other)
