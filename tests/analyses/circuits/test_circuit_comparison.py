"""Two circuits of the model that ships: against circuits found and run one by one, sets of names, and its two tasks."""

import itertools
from functools import cache

import pytest
import torch

import workbench
from workbench import BadInput, functional, tasks
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import edge_scores, runs
from workbench.circuits.judging import circuits_of
from workbench.circuits.split import split

NAMES = ("induction", "induction-match")
SHARES = (0.005, 0.1, 0.3)


@cache
def micro():
    return workbench.load("micro")


@cache
def compared(**options):
    return workbench.circuit_comparison(
        micro(), NAMES[0], other=NAMES[1], **{"examples": 10, "shares": SHARES, "draws": 3, **options}
    )


def names_of(frame):
    return set(frame["source"] + "->" + frame["slot"])


def test_each_circuit_runs_on_each_task():
    """Scores, orders, circuits and both tasks once more, one circuit and one batch at a time."""
    wiring, result = split(micro()), compared()
    drawn = [tasks.task(name, micro(), examples=10) for name in NAMES]
    for i, task in enumerate(drawn):
        scores = edge_scores(wiring, task.pairs(micro()), task.metric)
        assert torch.allclose(result.scores[i].nan_to_num(), scores.nan_to_num(), atol=1e-5)
        for at, size in enumerate(result.sizes.tolist()):
            kept = result.circuits(size)[i].kept
            grown = functional.greedy_edges(scores, wiring.graph.exists, wiring.graph.feeds, size)
            assert torch.equal(kept, functional.prune_edges(grown, wiring.graph.feeds))
            assert result.kept[i, at] == kept.sum()
            for j, other in enumerate(drawn):
                values = []
                for one in runs(wiring, other.pairs(micro(), batch_size=3)):
                    measure = one.measure(other.metric)
                    logits = (run_circuit(wiring, one.clean, one.other, kept), one.clean.logits, one.corrupted.logits)
                    values.append(torch.stack([measure(x) for x in logits]))
                value, clean, none = torch.cat(values, 1).mean(1)
                assert result.clean[j].item() == pytest.approx(clean.item(), abs=1e-4)
                assert result.corrupted[j].item() == pytest.approx(none.item(), abs=1e-4)
                expected = ((value - none) / (clean - none)).item()
                assert result.faithfulness[i, j, at].item() == pytest.approx(expected, abs=1e-4)


def test_what_is_shared_is_what_sets_of_names_share():
    result = compared()
    for at, size in enumerate(result.sizes.tolist()):
        first, second = (set(circuit.kept_edges()) for circuit in result.circuits(size))
        sides = result.sides(size)
        assert names_of(sides[sides["in"] == "both"]) == first & second
        assert names_of(sides[sides["in"] == "first"]) == first - second
        assert names_of(sides[sides["in"] == "second"]) == second - first
        assert result.shared[at] == len(first & second)
        if not first | second:
            assert result.jaccard[at].isnan()
            continue
        assert result.jaccard[at].item() == pytest.approx(len(first & second) / len(first | second))
        ends = [{part.partition("<")[0] for name in edges for part in name.split("->")} for edges in (first, second)]
        assert result.node_jaccard[at].item() == pytest.approx(len(ends[0] & ends[1]) / len(ends[0] | ends[1]))


def test_copying_and_matching_are_two_circuits_of_the_same_heads():
    """What is copied reaches layer 1 by values, what is matched by keys: each circuit does little of the other task."""
    result = compared()
    assert result.tasks == NAMES
    sides = result.sides(int(result.sizes[1]))
    assert all("<v>" in name or "->logits" in name for name in names_of(sides[sides["in"] == "first"]))
    assert any("<k>" in name for name in names_of(sides[sides["in"] == "second"]))
    assert (result.faithfulness[0, 0, 1:] > 0.9).all()
    assert result.faithfulness[0, 1, 1] < 0.2
    assert result.random_faithfulness[:, 1].abs().max() < 0.2


def test_a_task_and_itself_share_everything():
    result = workbench.circuit_comparison(
        micro(), "induction", other="induction", examples=8, shares=(0.1, 0.5), draws=4
    )
    assert result.jaccard.tolist() == result.node_jaccard.tolist() == [1, 1]
    assert result.spearman == result.pearson == 1
    assert torch.equal(result.faithfulness[0], result.faithfulness[1])
    assert (result.random_jaccard < 0.6).all()
    assert result.sides(8)["in"].unique().tolist() == ["both"]


def test_two_methods_on_one_task():
    result = workbench.circuit_comparison(
        micro(), "induction", other="induction", examples=8, shares=(0.1,), draws=0, other_method="eap"
    )
    assert result.methods == ("eap-ig", "eap")
    x, y = (scores[~scores.isnan()].abs() for scores in result.scores)
    assert result.spearman == pytest.approx(functional.spearman(x.double(), y.double()).item())
    assert 0.5 < result.spearman < 1
    assert result.random_faithfulness.isnan().all()
    assert "by eap-ig" in result.brief()[0]
    assert set(result.cross_frame()["circuit"]) == {"first", "second"}


def test_frames_say_in_which_turn_each_edge_comes():
    result = compared()
    frame = result.to_frame()
    assert len(frame) == 81
    for column in ("rank_first", "rank_second"):
        assert sorted(frame[column]) == list(range(81))
    for n, (column, i) in itertools.product((4, 30), (("rank_first", 0), ("rank_second", 1))):
        grown = names_of(frame[frame[column] < n])
        kept = torch.zeros(result.graph.shape, dtype=torch.bool)
        for name in grown:
            kept[result.graph.edge(name)] = True
        pruned = functional.prune_edges(kept, result.graph.feeds)
        assert torch.equal(pruned, result.circuits(n)[i].kept)
    cross = result.cross_frame()
    assert len(cross) == 3 * 2 * 3
    row = cross[(cross["circuit"] == "second") & (cross["task"] == "first")].iloc[2]
    assert row["faithfulness"] == pytest.approx(result.faithfulness[1, 0, 2].item())
    assert len(result.overlap_frame()) == 3


def test_both_figures(tmp_path):
    result = compared()
    assert len(result.figure().data) == 6
    assert len(result.figure(of="overlap").data) == 3
    again = workbench.load_result(result.save(tmp_path / "comparison.safetensors"))
    assert again.figure().to_json() == result.figure().to_json()
    path = result.circuits(8)[1].save(tmp_path / "second.json")
    opened = workbench.CircuitGraph.load(path)
    assert opened.kept_edges() == result.circuits(8)[1].kept_edges()
    assert opened.about["task"] == "induction-match"


def test_random_circuits_are_grown_alike():
    result = compared()
    wiring = split(micro())
    from workbench.circuits.finding import random_orders

    shared = []
    for order in random_orders(wiring.graph, "greedy", 3, 0):
        masks = circuits_of(wiring.graph, order, result.sizes.tolist())
        first = torch.stack([result.circuits(n)[0].kept for n in result.sizes.tolist()])
        shared.append(functional.jaccard(first.flatten(1), masks.flatten(1)))
    assert torch.allclose(result.random_jaccard.double(), torch.stack(shared).nanmean(0), equal_nan=True)


def test_what_cannot_be_compared():
    with pytest.raises(BadInput, match="does not do addition"):
        workbench.circuit_comparison(micro(), "induction", other="addition", examples=8)
    with pytest.raises(BadInput, match="circuits of 82 cannot be taken"):
        compared().circuits(82)
    with pytest.raises(BadInput, match="shares"):
        workbench.circuit_comparison(micro(), shares=(1.5,))
