"""The study of addition with given embeddings: waves, training, filters, and that its claims can fail."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from case_studies.addition_pretrained import numbers, real, rescue, study, train
from workbench import studies
from workbench.studies.judging import verdicts

SHORT = train.TrainConfig(arm="waves", operands=5, steps=3, batch=8, d_model=32, d_mlp=16)
CLAIMS = studies.study("addition_pretrained").claims


@pytest.mark.parametrize("periods", [(2.0, 5.0, 10.0), (100.0,), numbers.PERIODS])
def test_the_spectrum_of_given_vectors_is_that_of_their_periods(periods):
    table = numbers.wave_table(100, 64, periods=periods, noise=0.0, seed=1).double().numpy()
    line = np.arange(100) / 100
    # What the value's straight line adds along its own direction is taken off: the rest is waves.
    line = line - line.mean()
    waves = [np.exp(2j * np.pi * np.arange(100) / period) for period in periods]
    known = np.stack([np.ones(100), line, *(w.real for w in waves), *(w.imag for w in waves)], 1)
    fitted = known @ np.linalg.lstsq(known, table, rcond=None)[0]
    np.testing.assert_allclose(fitted, table, atol=1e-5)
    along = np.linalg.lstsq(known, table, rcond=None)[0][1]
    power = (np.abs(np.fft.rfft(table - line[:, None] * along, axis=0)) ** 2).sum(1)
    asked = {round(100 / period) for period in periods}
    assert set(np.flatnonzero(power[1:] > 1e-6 * power[1:].sum()) + 1) == asked
    assert np.linalg.norm(table, axis=1).mean() == pytest.approx(1)


def test_exchanged_vectors_are_the_same_for_other_numbers():
    table = numbers.wave_table(100, 32, seed=3)
    mixed = numbers.exchanged(table, 3)
    rows = {tuple(row) for row in table.tolist()}
    assert {tuple(row) for row in mixed.tolist()} == rows
    assert (mixed == table).all(1).sum() < 10


@pytest.mark.parametrize("arm", train.ARMS)
def test_given_vectors_stay_and_all_else_is_trained(arm, tmp_path):
    config = dataclasses.replace(SHORT, arm=arm)
    before = train.initial_model(config).state_dict()
    after = train.train(config, tmp_path).module.state_dict()
    rows, others = slice(0, config.numbers), slice(config.numbers, config.numbers + 2)
    assert torch.equal(before["embed.weight"][rows], after["embed.weight"][rows]) == (arm != "scratch")
    assert not torch.equal(before["embed.weight"][others], after["embed.weight"][others])
    assert not torch.equal(before["blocks.0.mlp.W_in.weight"], after["blocks.0.mlp.W_in.weight"])


def test_no_pair_is_both_trained_on_and_held_out():
    config = train.TrainConfig(seed=2)
    ids, sums, trained, held_out = train.pairs(config)
    assert len(trained) == 750
    assert sorted([*trained.tolist(), *held_out.tolist()]) == list(range(2500))
    assert torch.equal(ids[:, 0] + ids[:, 2], sums)
    assert sums.max() < config.numbers
    assert len({tuple(row) for row in ids.tolist()}) == 2500
    assert not torch.equal(trained, train.pairs(train.TrainConfig(seed=3))[2])


def test_a_filter_is_a_projection_in_a_plain_hook():
    model, config = rescue.model_of("waves", 0), train.TrainConfig(arm="waves", seed=0)
    found = rescue.filtered(model, config, 0).to_frame()
    row = found[(found["part"] == "mlp_out") & (found["band"] == "low waves")].iloc[0]
    module: Any = model.module
    x = np.arange(100)
    waves = np.stack([f(2 * np.pi * k * x / 100) for k in rescue.LOW for f in (np.cos, np.sin)])
    reading = module.unembed.weight[:100].detach().double().numpy() * module.ln_final.weight.detach().numpy()
    reading = reading - reading.mean(1, keepdims=True)
    kernel = waves @ reading
    out = torch.from_numpy(np.eye(kernel.shape[1]) - np.linalg.pinv(kernel) @ kernel).float()

    def hook(_module, _given, value):
        return torch.cat([value[:, :-1], value[:, -1:] @ out], 1)

    ids, sums, _, held_out = train.pairs(config)
    some = held_out[: rescue.PROMPTS]
    handle = module.blocks[0].mlp.register_forward_hook(hook)
    with torch.no_grad():
        given = module(ids[some]).logits[:, -1, :100].argmax(-1)
    handle.remove()
    off = given - sums[some]
    assert (off == 0).double().mean().item() == pytest.approx(row["accuracy"])
    assert (off[off != 0] % 10 == 0).double().mean().item() == pytest.approx(row["multiples_of_10"])
    errors = rescue.error_table(rescue.filtered(model, config, 0))
    counted = errors[errors["band"] == "without low waves"].set_index("error")["answers"].to_dict()
    assert counted == {size: int((off == size).sum()) for size in set(off[off != 0].tolist())}


# ---- the claims ------------------------------------------------------------------------------------------------------


def judged(measured):
    return [v for v in verdicts(studies.Findings(numbers=measured), CLAIMS) if v.values]


def test_the_committed_models_give_what_is_claimed():
    measured, tables, figures = study.miniature(study.Config(draws=1))
    outcomes = judged(measured)
    assert len(outcomes) >= 18
    assert [v for v in outcomes if not v.as_expected] == []
    assert sum(v.outcome == "does not reproduce" for v in outcomes) == 2
    history = {(row["arm"], row["seed"]): row for row in tables["Learned"].to_dict("records")}
    logged: Any = study.pd.read_json(study.FOLDER / "training.json")
    for row in logged[logged["step"] == 1000].to_dict("records"):
        assert history[row["arm"], row["seed"]]["test"] == pytest.approx(row["test"], abs=0.005)
    assert len(figures) == 2


@pytest.mark.parametrize(
    ("arm", "failing"),
    [
        ("random", {"waves.test", "waves.mlp.low.multiples_of_10", "waves.mlp.high.below_6"}),
        ("scratch", {"waves.test", "waves.mlp.low.multiples_of_10", "waves.random_filters.lowest"}),
    ],
)
def test_models_without_waves_in_their_place_fail_the_claims(monkeypatch, arm, failing):
    real_one = rescue.model_of
    monkeypatch.setattr(rescue, "model_of", lambda name, seed: real_one(arm if name == "waves" else name, seed))
    monkeypatch.setattr(study, "ARMS", ("waves",))
    measured, _, _ = study.miniature(study.Config(draws=1, seeds=(0,)))
    outcomes = judged(measured)
    assert failing <= {verdict.claim.quantity for verdict in outcomes if verdict.outcome == "fails"}


def test_sums_that_are_shown_give_no_answer_away():
    asked = real.sums_of_digits(55, 0)
    assert {one for _, one in asked} == {(a, b) for a in range(10) for b in range(10) if a + b < 10}
    assert all(sum(shown[0]) != sum(one) for shown, one in asked)
    assert all(sum(one) < 100 and min(one) >= 10 for _, one in real.sums_of_two_digits(200, 0))


@pytest.mark.real
@pytest.mark.slow
def test_the_study_gives_what_it_claims():
    run = studies.run_study("addition_pretrained")
    assert run.as_expected, repr(run)
    assert sum(v.claim.control and v.outcome == "holds" for v in run.verdicts) >= 12
    assert sum(v.outcome == "does not reproduce" for v in run.verdicts) == 10
