"""The modular addition study: data, training, checkpoints, what it measures, and that its claims can fail."""

import dataclasses
import math

import pytest
import torch

import workbench
from case_studies.modular_addition import study, train
from workbench import studies
from workbench.studies.judging import verdicts

SHORT = train.TrainConfig(prime=5, steps=6, share=0.6)


def test_the_data_are_all_sums_and_the_permuted_ones_their_answers_in_another_order():
    given = train.data(SHORT)
    assert [(int(a), int(b), int(c)) for a, b, c in zip(given.a, given.b, given.answers, strict=True)] == [
        (a, b, (a + b) % 5) for a in range(5) for b in range(5)
    ]
    assert given.train.sum() == 15
    mixed = train.data(dataclasses.replace(SHORT, permuted=True))
    assert torch.equal(mixed.answers.sort().values, given.answers.sort().values)
    assert (mixed.answers == given.answers).double().mean() < 0.6
    assert torch.equal(mixed.train, given.train)


def test_the_short_way_to_the_answers_is_the_whole_model():
    module = train.initial_model(SHORT)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    given = train.data(SHORT)
    ids = torch.stack([given.a, given.b, torch.full_like(given.a, 5)], 1)
    whole = module(ids).logits[:, -1]
    torch.testing.assert_close(train.sum_logits(module, given.a, given.b), whole, rtol=1e-5, atol=1e-5)
    right = (whole.argmax(-1) == given.answers)[~given.train].double().mean().item()
    assert train.measure(module, given)["test_accuracy"] == right
    chances = whole.double().log_softmax(-1)[torch.arange(25), given.answers]
    assert train.loss_of(module, given, given.train).item() == pytest.approx(-chances[given.train].mean().item())


def test_training_goes_on_where_it_stopped_and_keeps_what_opens_as_a_model(tmp_path):
    saved = []

    def keep(module, step):
        saved.append(step)
        train.write(module, SHORT, step, tmp_path / "kept")

    whole = train.train(SHORT, tmp_path / "whole", keep=(3, 6), save=keep)
    assert saved == [3, 6]
    assert [row["step"] for row in whole.history] == [0, 6]
    half = dataclasses.replace(SHORT)
    with workbench.reporting(_stop_at(3)), pytest.raises(workbench.Stopped):
        train.train(half, tmp_path / "cut")
    again = train.train(half, tmp_path / "cut")
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    model = workbench.load(tmp_path / "kept", checkpoint="6")
    for name, value in whole.module.state_dict().items():
        assert torch.equal(model.module.state_dict()[name], value.half().float()), name
    assert model.labels(model.encode("3 4 =")) == ("3", "4", "=")


def _stop_at(step):
    def listener(label, done, total):
        if done == step:
            raise workbench.Stopped("enough")

    return listener


def test_a_training_has_generalised_when_it_stays_so():
    rows = [{"step": 50 * i, "test_accuracy": value} for i, value in enumerate((0.1, 0.97, 0.5, 0.96, 0.99))]
    assert train.generalised_at(rows) == 150
    assert train.generalised_at(rows[:3]) == math.inf


def test_the_committed_checkpoints_are_those_of_the_log():
    logged = train.histories()
    for name, key in (("p59-wd1", "wd1-seed0"), ("p59-wd3", "wd3-seed0"), ("p59-permuted", "permuted-seed0")):
        rows = {row["step"]: row for row in logged[key]}
        given = train.data(train.SETTINGS[name])
        for step in train.KEPT[name]:
            found = train.measure(study.opened(name, step).module, given)
            assert found["test_loss"] == pytest.approx(rows[step]["test_loss"], rel=0.01), (name, step)
            assert found["test_accuracy"] == pytest.approx(rows[step]["test_accuracy"], abs=0.002)
    sizes = [path.stat().st_size for path in (study.FOLDER / "checkpoints").rglob("*") if path.is_file()]
    assert sum(sizes) < 5e6


def test_the_circuit_leads_and_a_model_that_learned_by_heart_has_none():
    """The heart of the study on three checkpoints: few frequencies can add before the model can."""
    settings = train.SETTINGS["p59-wd3"]
    history = workbench.progress_history(
        [400, 800, 2000], lambda step: study.opened("p59-wd3", step), "0-58", train_share=settings.share, draws=2
    )
    numbers = study.history_numbers("wd3", history)
    assert history.key == (3, 23, 24)
    assert numbers["wd3.lead"] == 400
    assert numbers["wd3.end.explained"] > 0.98
    permuted = study.opened("p59-permuted", 1200)
    found = workbench.progress_measures(permuted, "0-58", frequencies=history.key, train_share=settings.share)
    assert found.value("explained") < 0.02
    assert found.value("restricted_loss") > 4


@pytest.mark.slow
def test_the_study_gives_what_it_claims():
    run = studies.run_study("modular_addition")
    assert run.as_expected, repr(run)
    assert sum(verdict.claim.control and verdict.outcome == "holds" for verdict in run.verdicts) >= 10
    assert [v.claim.bound for v in run.verdicts if v.outcome == "does not reproduce"] == [0.8]


@pytest.mark.slow
def test_models_that_were_hardly_trained_fail_the_claims_about_trained_ones(monkeypatch, tmp_path):
    hasty = {name: dataclasses.replace(config, steps=20) for name, config in train.SETTINGS.items()}
    monkeypatch.setattr(train, "SETTINGS", hasty)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    found = study.retrained(study.Config(draws=1))
    claims = [c for c in studies.study("modular_addition").claims if c.quantity.startswith("retrained_wd3")]
    outcomes = [v.outcome for v in verdicts(studies.Findings(numbers=found), [c for c in claims if c.seeds == (0,)])]
    assert len(outcomes) == 5
    assert outcomes.count("fails") >= 4
    assert not list(tmp_path.rglob("training.safetensors"))
