"""Whether a model does a task: the numbers against one pass a prompt, and what they lead to."""

from dataclasses import replace

import pytest
import torch

from tests.tasks.word_models import word_model
from workbench.errors import BadInput, UnknownName
from workbench.tasks import Doing, doable, draw, task
from workbench.tasks.doing import refusal


def one_by_one(model, found, metric):
    """(clean metric, corrupted metric, targets ahead, top answer right) of each example, a pass for each prompt."""
    rows = []
    for e in found.examples:
        values = []
        for ids in (e.clean, e.corrupted):
            with torch.no_grad():
                values.append(model.logits(model.encode(list(ids)))[0, e.position].double())
        clean = values[0]
        p, q = (v.softmax(-1) for v in values)
        targets, foils = list(e.targets), list(e.foils)

        def of(v, targets=targets, foils=foils, clean=clean):
            p = v.softmax(-1)
            return {
                "logit-diff": v[targets].mean() - v[foils].mean(),
                "prob-diff": p[targets].sum() - p[foils].sum(),
                "log-prob": p[targets].sum().log(),
                "kl": -(clean.softmax(-1) * (clean.log_softmax(-1) - v.log_softmax(-1))).sum(),
            }

        side = "prob-diff" if metric == "prob-diff" else "logit-diff"
        rows.append((of(values[0])[metric], of(values[1])[metric], of(clean)[side] > 0, int(clean.argmax()) in targets))
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("metric", ["logit-diff", "prob-diff", "log-prob", "kl"])
@pytest.mark.parametrize(("kind", "name"), [("next", "ioi"), ("mask", "sva"), ("next", "greater-than")])
def test_the_numbers_are_those_of_one_pass_a_prompt(kind, name, metric):
    model = word_model(kind)
    found = draw(name, model, examples=12, metric=metric)
    doing, rows = doable(model, found, batch_size=5), one_by_one(model, found, metric)
    expected = rows.mean(0).tolist()
    assert [doing.clean, doing.corrupted, doing.accuracy, doing.top] == pytest.approx(expected, abs=1e-5)
    assert doing.without_gap == int((rows[:, 0] <= rows[:, 1]).sum())
    assert doing.gap == pytest.approx(expected[0] - expected[1], abs=1e-5)
    assert (doing.model, doing.task, doing.metric, doing.examples) == (model.name, name, metric, 12)


@pytest.mark.parametrize("name", ["induction", "induction-match"])
def test_micro_does_induction(name, tiny):
    found = task(name, tiny("micro"), examples=24)
    assert found.doing is not None and found.doing.why_not == ""
    assert found.doing.accuracy == 1 and found.doing.without_gap == 0 and found.doing.gap > 5


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "mamba"])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_models_are_refused(family, seed, tiny):
    model = tiny(family)
    with pytest.raises(BadInput, match=rf"{model.name} does not do induction: .* or say anyway to go on all the same"):
        task("induction", model, seed=seed)
    found = task("induction", model, seed=seed, anyway=True)
    assert found.doing is not None and "does not do induction" in found.doing.why_not


def test_micro_does_not_do_what_it_was_not_trained_for(tiny):
    with pytest.raises(
        BadInput,
        match=r"micro does not do addition: by targets ahead of foils, accuracy 0\.\d\d over 40 examples, chance 0.5",
    ):
        task("addition", tiny("micro"), examples=40)


SOUND = Doing(
    **{"model": "m", "task": "t", "metric": "logit-diff", "clean": 3.0, "corrupted": -1.0, "accuracy": 0.9},
    **{"top": 0.0, "without_gap": 5, "examples": 40, "why_not": ""},
)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"accuracy": 0.75}, ""),
        (
            {"accuracy": 0.74},
            "m does not do t: by targets ahead of foils, accuracy 0.74 over 40 examples, chance 0.5, needed 0.75.",
        ),
        ({"without_gap": 10}, ""),
        ({"without_gap": 11}, "no higher on clean ones for 11 of 40 examples: corrupting changes too little."),
        ({"corrupted": 3.0}, "its logit-diff is 3 on clean prompts and 3 on corrupted ones"),
        ({"accuracy": 1.0, "examples": 7, "without_gap": 0}, ""),
        (
            {"accuracy": 1.0, "examples": 6, "without_gap": 0},
            "It cannot be told whether m does t: 6 of 6 examples are right, which guessing gives too often. Ask for",
        ),
        (
            {"accuracy": 1.0, "examples": 1, "without_gap": 0},
            "It cannot be told whether m does t: 1 of 1 example is right, which guessing gives too often.",
        ),
        ({"accuracy": 0.0, "examples": 1, "without_gap": 0}, "accuracy 0.00 over 1 example, chance"),
        ({"accuracy": 0.75, "examples": 20, "without_gap": 0}, "15 of 20 examples are right, which guessing gives"),
        ({"accuracy": 0.8, "examples": 20, "without_gap": 0}, ""),
    ],
)
def test_what_decides(change, why):
    found = refusal(replace(SOUND, **change))
    assert (why in found) if why else found == ""


def test_too_few_examples_to_tell_get_one_piece_of_advice(tiny):
    with pytest.raises(BadInput) as caught:
        task("induction", tiny("micro"), examples=5)
    assert str(caught.value) == (
        "It cannot be told whether micro does induction: 5 of 5 examples are right, which guessing gives too often."
        " Ask for more examples."
    )
    with pytest.raises(BadInput, match=r"needed 0.75. Take another model or task, or say anyway to go on all the same"):
        task("addition", tiny("micro"), examples=40)


def test_what_cannot_be_asked():
    model = word_model()
    with pytest.raises(
        UnknownName, match=r"No metric called 'logits'.*Known: kl, log-prob, logit-diff, prob-diff, task"
    ):
        draw("ioi", model, metric="logits")
    for bad in (0, -1, 2.5, True):
        with pytest.raises(BadInput, match="examples must be a whole number of at least 1"):
            draw("ioi", model, examples=bad)
    with pytest.raises(BadInput, match="ioi has no examples to measure"):
        doable(model, draw("ioi", model, examples=1).first(0))


def test_answers_that_are_not_finite_are_counted(tiny):
    from workbench.testing import tiny_model

    model = tiny_model("gpt2")
    found = draw("induction", model, examples=3)
    with torch.no_grad():
        model.module.lm_head.weight.fill_(torch.nan)
    with pytest.raises(BadInput, match="answers 3 of 3 examples of induction with no finite number"):
        doable(model, found)
