"""The study of how induction comes up: its data, its timing, its models, and that its claims can fail."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import workbench
from case_studies.induction_emergence import circuits, data, measure, models, numbers, study, train
from workbench import studies
from workbench.progress import reporting
from workbench.studies.judging import verdicts

CLAIMS = studies.study("induction_emergence").claims


def test_blocks_repeat_to_the_end_without_duplicates_inside():
    ids, periods = data.repeating(200, 7)
    assert ids.shape == (200, data.LENGTH) and periods.min() == 8 and periods.max() == 24
    can = data.known(periods)
    for row, period, known in zip(ids.tolist(), periods.tolist(), can.tolist(), strict=True):
        assert row == (row[:period] * 6)[: data.LENGTH] and len(set(row[:period])) == period
        assert known == [row[t - 1] in row[: t - 1] for t in range(1, data.LENGTH)]
    assert torch.equal(ids, data.repeating(200, 7)[0]) and not torch.equal(ids, data.repeating(200, 8)[0])


def test_unrelated_tokens_are_drawn_one_by_one():
    ids = data.unrelated(2000, 3)
    counts = torch.bincount(ids.flatten(), minlength=64).double()
    assert len(counts) == 64 and (counts / counts.mean() - 1).abs().max() < 0.15
    pairs = (ids[:, 1:] == ids[:, :-1]).double().mean()
    assert pairs.item() == pytest.approx(1 / 64, rel=0.1)


def test_halfway_is_where_a_straight_line_crosses_the_middle():
    steps = np.array([0, 100, 200, 300, 400, 500])
    assert numbers.halfway(steps, np.array([9.0, 9.0, 4.0, 3.0, 1.0, 0.0])) == pytest.approx(350)
    assert numbers.halfway(steps, np.array([0.0, 0.0, 0.1, 0.2, 0.6, 1.1])) == pytest.approx(400)
    assert np.isnan(numbers.halfway(steps, np.full(6, 2.0)))
    assert (
        numbers.steepest_fall(steps, np.array([9.0, 5.0, 4.0, 3.5, 1.0, 0.0])) == 2.5
    )  # before step 200 nothing counts


def test_the_history_is_what_the_checkpoints_give():
    history = models.history()
    for step in (480, 600):
        found = measure.measured(models.committed("two-layers", 1, step))
        row = history[(history["setting"] == "two-layers") & (history["seed"] == 1) & (history["step"] == step)]
        for name, value in found.items():
            assert value == pytest.approx(float(row[name].iloc[0]), abs=0.02), name  # kept in half precision


def test_losses_are_those_of_a_plain_pass():
    model = models.committed("two-layers", 0, 520)
    ids, periods = data.repeating(measure.SEQUENCES, measure.SEED)
    with torch.no_grad():
        told = model.module(ids).logits.log_softmax(-1)
    known, new = [], []
    for i, row in enumerate(ids.tolist()):
        for t in range(1, data.LENGTH):
            (known if t > periods[i] else new).append(-told[i, t - 1, row[t]].item())
    found = measure.loss_numbers(model)
    assert found["loss"] == pytest.approx(np.mean(known), abs=1e-4)
    assert found["loss_new"] == pytest.approx(np.mean(new), abs=1e-4)
    late = np.mean([-told[i, t - 1, row[t]].item() for i, row in enumerate(ids.tolist()) for t in range(40, 48)])
    early = np.mean([-told[i, t - 1, row[t]].item() for i, row in enumerate(ids.tolist()) for t in range(4, 8)])
    assert found["in_context"] == pytest.approx(late - early, abs=1e-4)


def test_a_removed_layer_is_what_a_model_without_it_gives():
    model: Any = models.committed("two-layers", 0)
    block = model.module.blocks[1].attn
    assert measure.loss_without(model, []) == pytest.approx(measure.loss_numbers(model)["loss"])
    ids, periods = data.repeating(measure.SEQUENCES, measure.SEED)
    with torch.no_grad(), workbench.reading(model, "blocks.1.attn.z") as values:
        model.module(ids)
    mean = values["blocks.1.attn.z"].mean((0, 1))
    handle = block.hook_z.register_forward_hook(lambda module, given, z: mean.expand_as(z))
    try:
        losses, can = measure.token_losses(model)
    finally:
        handle.remove()
    heads = [(1, head) for head in range(4)]
    assert measure.loss_without(model, heads) == pytest.approx(losses[can].mean().item(), abs=1e-4)


SHORT = train.TrainConfig(d_model=16, n_heads=2, steps=6, batch=8, measure_at=(0, 3), keep=(3,), warmup=2)


def test_training_goes_on_where_it_stopped_and_ends_in_the_same_weights(tmp_path):
    whole = train.train(SHORT, tmp_path / "whole")

    def stop(label, done, of):
        if label.startswith("training") and done == 3:
            raise workbench.Stopped

    with pytest.raises(workbench.Stopped), reporting(stop):
        train.train(SHORT, tmp_path / "cut")
    again = train.train(SHORT, tmp_path / "cut")
    assert whole.history == again.history and [row["step"] for row in whole.history] == [0, 3, 6]
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    assert (tmp_path / "cut" / "checkpoint-3" / "model.safetensors").is_file()
    with pytest.raises(workbench.BadInput):
        train.train(dataclasses.replace(SHORT, seed=1), tmp_path / "cut")


def test_settings_differ_from_the_first_in_one_thing():
    plain = dataclasses.asdict(train.SETTINGS["two-layers"])
    for name, config in train.SETTINGS.items():
        changed = {key for key, value in dataclasses.asdict(config).items() if value != plain[key]}
        assert len(changed) == (name != "two-layers"), name


def outcomes(found: dict[str, float]) -> dict[str, str]:
    """What becomes of the claims about these numbers when all seeds give them; controls are left out."""
    judged = {f"two_layers.{name}": dict.fromkeys(models.SEEDS, value) for name, value in found.items()}
    claims = [claim for claim in CLAIMS if claim.quantity in judged and not claim.control and not claim.not_reproduced]
    return {v.claim.quantity: v.outcome for v in verdicts(studies.Findings(numbers=judged), claims)}


@pytest.mark.parametrize("model", ["untrained", "one-layer", "no-repeats", "permuted"])
def test_models_that_cannot_induce_fail_the_claims(model):
    if model == "untrained":
        lens = models.untrained("two-layers", 0)
    elif model == "permuted":  # the trained model with its induction heads reading another layer's values
        lens = models.adapted(models.untrained("two-layers", 0).module, "permuted")
        state = models.committed("two-layers", 0).module.state_dict()
        order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
        state["blocks.1.attn.W_K.weight"] = state["blocks.1.attn.W_K.weight"][:, order]
        lens.module.load_state_dict(state)
    else:
        lens = models.committed(model, 0)
    found, _ = study.look_at(lens)
    judged = outcomes(found)
    for quantity in ("loss", "in_context", "prefix_matching", "induction_heads"):
        assert judged[f"two_layers.{quantity}"] == "fails", quantity


def test_a_training_whose_rows_are_shuffled_fails_the_claims_about_time():
    history = numbers.with_sums(models.history())
    rows = history[(history["setting"] == "two-layers") & (history["seed"] == 0)].sort_values("step")
    right = outcomes(numbers.timing_numbers(rows))
    assert set(right.values()) == {"holds"} and len(right) >= 5
    late = rows.assign(**{"prefix_matching_all.1": rows["prefix_matching_all.1"].shift(10, fill_value=0.05)})
    assert outcomes(numbers.timing_numbers(late))["two_layers.apart.prefix_matching"] == "fails"
    one = history[history["setting"] == "one-layer"]
    assert outcomes(numbers.timing_numbers(one))["two_layers.steepest_fall"] == "fails"


def test_the_circuit_comes_when_the_task_is_done():
    frame = pd.DataFrame(
        {"step": [0, 10, 20], "does": [0, 1, 1], "found": [0, 1, 1], "kept": [0, 9, 5]}
        | {"smoothed_jaccard": [np.nan, np.nan, 0.8], "last_circuit": [0.0, 0.5, 0.9]}
    )
    nodes = pd.DataFrame({"node": ["a1.h2", "a0.h1"], "first": [10, 20]})

    class Found:
        def to_frame(self):
            return frame

        def appearances(self):
            return nodes

    found = circuits.history_numbers(Found(), 14.0)
    assert found["history.first_done"] == found["history.induction_head_comes"] == 10
    assert (found["history.apart"], found["history.first_kept"], found["history.last_kept"]) == (4, 9, 5)
    assert found["history.last_circuit_at_first"] == 0.5 and found["history.untrained_done"] == 0
