"""Routes of a corpus against single routes; groups against a plain permutation test and planted differences."""

import pytest
import torch

import workbench
from workbench.analyses.circuits.route_groups import group_differences
from workbench.analyses.circuits.route_samples import Measure, predictions
from workbench.corpora import Corpus
from workbench.testing import tiny_model

TEXTS = ["abcabcabc", "the cat sat", "a b c d e f", "hello hello"]


def habits(model, texts=TEXTS, **how):
    return workbench.routes_corpus(model, texts, **{"positions": 3, "threshold": 0.02, **how})


@pytest.mark.parametrize("family", ["gpt2", "neox", "bert", "micro"])
def test_is_what_the_single_routes_say(family):
    model = tiny_model(family)
    found = habits(model, seed=3)
    drawn = list(predictions(model, workbench.corpus(TEXTS), Measure(), by="none", positions=3, threshold=0.02, seed=3))
    assert [one.input for one in drawn] == [i for i in range(4) for _ in range(3)]
    kept, most, edges = torch.zeros(len(found.parts)), torch.zeros(len(found.parts)), []
    for one in drawn:
        route = workbench.routes(model, TEXTS[one.input], position=one.position, threshold=0.02)
        rows = route.route()
        for number, part in enumerate(found.parts):
            layer = int(part[1:].partition(".")[0])
            head = int(part.partition("h")[2]) if "h" in part else -1
            kind = "attention" if head >= 0 else "mlp"
            mine = rows.query(f"kind == '{kind}' and layer == {layer} and head == {head}")
            kept[number] += len(mine) > 0
            most[number] += mine.groupby("query")["share"].sum().max() if len(mine) else 0.0
        edges.append(len(route.edges_frame()))
    torch.testing.assert_close(found.kept, kept / 12)
    torch.testing.assert_close(found.contribution, most / 12)
    assert found.edges.tolist() == edges
    assert len(found.parts) == model.n_blocks * (model.n_heads + (family != "micro")) == len(found.kept)


def test_another_seed_draws_others_and_the_same_the_same():
    model = tiny_model("gpt2")
    assert torch.equal(habits(model, seed=1).contribution, habits(model, seed=1).contribution)
    assert not torch.equal(habits(model, seed=1).contribution, habits(model, seed=2).contribution)


def planted(n_units=20, each=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    unit = torch.arange(n_units).repeat_interleave(each)
    group = unit % 2
    return torch.randn(n_units * each, 6, generator=random), group, unit


def test_a_planted_difference_is_found_and_nothing_else():
    values, group, unit = planted()
    values[group == 1, 2] += 2
    found = group_differences(values, group, unit, 2, draws=200)
    assert (found.p <= 0.05).tolist() == [[i == 2 for i in range(6)]] * 2
    assert found.difference[1, 2] == pytest.approx((values[group == 1, 2].mean() - values[group == 0, 2].mean()).item())
    torch.testing.assert_close(found.mean[0], values[group == 0].mean(0))


def test_groups_of_whole_texts_are_drawn_as_whole_texts():
    """Texts that differ among themselves are no difference of groups, however many predictions each has."""
    values, group, unit = planted(n_units=6, each=50)
    values[:, 0] += 5 * torch.randn(6, generator=torch.Generator().manual_seed(4))[unit]
    assert group_differences(values, group, unit, 2, draws=200).p[:, 0].min() > 0.05
    alone = torch.arange(len(group))
    assert group_differences(values, group, alone, 2, draws=200).p[:, 0].min() < 0.05, "as samples they would differ"


def test_chance_is_rarely_called_a_difference():
    """Corrected for all parts and groups: among 20 sets of noise at most a few have any part below 0.05."""
    sure = 0
    for seed in range(20):
        values, group, unit = planted(n_units=10, each=3, seed=seed)
        sure += bool((group_differences(values, group, unit, 2, draws=60, seed=seed).p <= 0.05).any())
    assert sure <= 4


def test_a_number_that_never_differs_scores_nothing():
    values, group, unit = planted()
    values[:, 1] = 0.25
    found = group_differences(values, group, unit, 2, draws=50)
    assert not found.score[:, 1].any() and (found.p[:, 1] == 1).all()
    with pytest.raises(workbench.BadInput, match="at least two groups"):
        group_differences(values, 0 * group, unit, 1)


def tagged():
    texts = ("aa bb aa bb aa bb",) * 3
    spans = tuple((i, i + 2, "NOUN" if i % 6 else "VERB") for i in range(0, 17, 3))
    return Corpus(name="tagged", reads="text", inputs=texts, tags=(spans,) * 3, groups=("x", "y", "x"))


def test_parts_of_speech_of_the_token_and_of_the_next():
    """Characters are tokens here, after a BOS: position 1 is the first a, and a blank has no tag."""
    model = workbench.load("micro")
    for by in ("current", "next"):
        drawn = predictions(model, tagged(), Measure(), by=by, positions=100, threshold=0.04, seed=0)
        seen = {one.position: one.group for one in drawn if one.input == 0}
        text = "^aa bb aa bb aa bb"
        tags = {"a": "VERB", "b": "NOUN"}
        shift = int(by == "next")
        assert seen == {i: tags.get(text[i + shift], "") for i in range(1, len(text) - shift)}
    found = workbench.routes_corpus(model, tagged(), by="current", positions=100, draws=20)
    assert found.groups == ("NOUN", "VERB") and found.group_counts.tolist() == [18, 18]
    assert found.n_apart == found.n_predictions - 36 == 15
    assert len(found.groups_frame()) == 2 * len(found.parts)
    assert workbench.routes_corpus(model, tagged(), by="group", positions=100, draws=20).groups == ("x", "y")


def test_a_threshold_that_leaves_no_prediction_a_route_is_a_sentence():
    model = tiny_model("gpt2")
    with pytest.raises(workbench.BadInput, match="threshold of 1: no part .* any of the 2 predictions.*0.04 is usual"):
        habits(model, inputs=2, positions=1, threshold=1.0)
    with pytest.raises(workbench.BadInput, match="no part of the last state of the one prediction"):
        habits(model, inputs=1, positions=1, threshold=1.0)


def test_one_is_not_said_as_many():
    said = habits(tiny_model("gpt2"), inputs=1, positions=1).brief()[0]
    assert said.startswith("1 prediction of 1 input, ")
    said = habits(tiny_model("gpt2"), inputs=2, positions=1).brief()[0]
    assert said.startswith("2 predictions of 2 inputs, ")


def test_corpora_that_know_no_kinds_are_a_sentence():
    model = tiny_model("gpt2")
    with pytest.raises(workbench.BadInput, match="no parts of speech.*'brown' has"):
        habits(model, by="next")
    with pytest.raises(workbench.BadInput, match="are in no groups"):
        habits(model, by="group")
    few = Corpus(name="few", reads="text", inputs=("abc", "abd"), groups=("x", "y"))
    found = workbench.routes_corpus(model, few, by="group", positions=2)
    assert found.groups == () and found.n_apart == 4 and "fewer than two kinds have 5" in found.notes[-1]
    assert (
        len(found.groups_frame()) == len(found.specialised_frame()) == 0 and "Nothing is compared" in found.brief()[0]
    )
