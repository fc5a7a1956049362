"""The induction study's training: its sequences, cut off and gone on with, and that its claims can fail."""

import dataclasses
from typing import Any

import pytest
import torch

import workbench
from case_studies.induction import train
from workbench import studies
from workbench.models.micro import load_micro

SHORT = train.TrainConfig(
    steps=4, n_ctx=104, lengths=(24, 12), tokens_per_step=48, longest_period=8, measure_every=2, keep=(3,)
)


def test_training_goes_on_where_it_stopped_and_ends_in_the_same_weights(tmp_path):
    whole = train.train(SHORT, tmp_path / "whole")

    def cut(_label, done, _total):
        if done == 2:
            raise workbench.Stopped("enough")

    with pytest.raises(workbench.Stopped), workbench.reporting(cut):
        train.train(SHORT, tmp_path / "cut")
    again = train.train(SHORT, tmp_path / "cut")
    assert whole.history == again.history and [row["step"] for row in whole.history] == [0, 2, 4]
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    kept, _ = load_micro(tmp_path / "whole" / "step-3.safetensors")
    said: Any = kept.provenance
    assert said["step"] == 3 and "ce_repeat" in said["measured"]
    with pytest.raises(workbench.BadInput, match="seed 0 instead of 9"):
        train.train(dataclasses.replace(SHORT, seed=9), tmp_path / "cut")


def test_training_is_the_loop_that_the_committed_model_is_from(tmp_path):
    """The loop before there was a trainer, in a few lines: warmed up, clipped, decayed."""
    config = dataclasses.replace(SHORT, keep=(), warmup=3)
    model = train.initial_model(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.01)
    for step, share in enumerate((1 / 3, 2 / 3, 1.0, 0.625)):  # the last: 1 of 4 steps left, decayed over 1.6
        optimizer.param_groups[0]["lr"] = config.lr * share
        optimizer.zero_grad()
        train.loss_of(model, config, step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    done = train.train(config, tmp_path).module.state_dict()
    assert all(torch.equal(value, done[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_models_that_were_hardly_trained_fail_the_claims_about_trained_ones(monkeypatch, tmp_path):
    class Hasty(train.TrainConfig):
        def __init__(self, **given):
            super().__init__(**given, steps=1, n_ctx=104, lengths=(24,), tokens_per_step=48)

    monkeypatch.setattr(train, "TrainConfig", Hasty)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    run = studies.run_study("induction", long=True)
    outcomes = {verdict.claim.quantity: verdict for verdict in run.verdicts}
    assert not run.as_expected
    assert outcomes["retrained.loss"].outcome == "fails"
    assert list(outcomes["retrained.loss"].values) == ["seed 0", "seed 1", "seed 2"]
    assert outcomes["retrained.layer_1.prefix_matching_all"].outcome == "fails"
    assert outcomes["one_layer.loss"].outcome == "holds"
    assert not list(tmp_path.rglob("training.safetensors"))  # the next run starts from scratch


def test_training_sequences_repeat_and_say_where():
    config = train.TrainConfig(with_duplicates=0.0)
    for step in (0, 3, 7):
        ids, positions, repeated = train.sequences(config, step)
        assert ids.shape == positions.shape == repeated.shape
        assert (ids[:, 0] == 0).all()
        assert (positions[:, 0] == 0).all()
        assert positions.max() < config.n_ctx
        for row, marks in zip(ids.tolist(), repeated.tolist(), strict=True):
            for place in range(1, len(row)):  # known exactly when the token before has stood there before
                assert marks[place] == (row[place - 1] in row[1 : place - 1])
                if marks[place]:
                    earlier = row.index(row[place - 1], 1)
                    assert row[place] == row[earlier + 1]
