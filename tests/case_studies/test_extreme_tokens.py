"""The study of extreme tokens: its chain and what is known of it, what it measures, and that its claims can fail."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import workbench
from case_studies.extreme_tokens import chain, growth, intervene, measure, models, train
from workbench import studies
from workbench.functional import sink_mass, uniform_sink_mass
from workbench.progress import reporting
from workbench.studies.judging import verdicts

# ---- the chain -------------------------------------------------------------------------------------------------------


def test_what_comes_next_is_the_rule_or_the_chain():
    ids = chain.sequences(3000, seed=5)
    assert ids.shape == (3000, chain.LENGTH + 1)
    assert (ids[:, 0] == chain.START).all()
    assert (ids[:, 1:] != chain.START).all()
    assert not chain.is_trigger(ids[:, 1]).any()
    triggers = chain.is_trigger(ids[:, 1:-1])
    assert torch.equal(ids[:, 2:][triggers], ids[:, :-2][triggers])
    assert not chain.is_trigger(ids[:, 2:][triggers]).any()  # so that each trigger has something to copy
    counts = np.zeros((chain.SYMBOLS, chain.SYMBOLS))
    for now, following in zip(ids[:, 1:-1][~triggers].tolist(), ids[:, 2:][~triggers].tolist(), strict=True):
        counts[now - 1, following - 1] += 1
    rows = counts.sum(1) > 500
    assert rows.sum() >= 28
    shares = counts[rows] / counts[rows].sum(1, keepdims=True)
    assert np.abs(shares - chain.transitions().numpy()[rows]).max() < 0.05
    first = np.bincount(ids[:, 1].numpy(), minlength=33)[1:] / 3000
    assert np.abs(first - chain.first_symbol().numpy()).max() < 0.02


def test_without_the_rule_triggers_are_symbols_as_any_other():
    ids = chain.sequences(3000, seed=5, rule=False)
    for trigger in range(1, chain.TRIGGERS + 1):
        following = ids[:, 2:][ids[:, 1:-1] == trigger]
        shares = np.bincount(following.numpy(), minlength=33)[1:] / len(following)
        assert np.abs(shares - chain.transitions()[trigger - 1].numpy()).max() < 0.03


def test_triggers_are_the_most_frequent_symbols():
    transitions = chain.transitions()
    powers = np.linalg.matrix_power(transitions.numpy(), 400)
    np.testing.assert_allclose(chain.stationary(transitions).numpy(), powers[0], rtol=1e-9)
    assert (np.diff(powers[0]) <= 1e-12).all()


def by_pairs(length: int) -> dict[str, float]:
    """The best losses by carrying on the chance of every pair (symbol before, symbol), and of all that may come."""
    chances = np.vstack([np.zeros(33), np.hstack([np.zeros((32, 1)), chain.transitions().numpy()])])
    pairs = np.zeros((33, 33))
    pairs[0] = [0, *chain.first_symbol().tolist()]
    total = {"trigger": 0.0, "other": 0.0}
    loss, after = {"trigger": 0.0, "other": 0.0}, np.zeros((33, 33))
    for _ in range(1, length):
        following = np.zeros((33, 33))
        for before in range(33):
            for now in range(1, 33):
                weight = pairs[before, now]
                if weight == 0:
                    continue
                kind = "trigger" if now <= 3 else "other"
                row = np.eye(33)[before] if kind == "trigger" else chances[now]
                total[kind] += weight
                loss[kind] -= weight * sum(p * np.log(p) for p in row if p > 0)
                following[now] += weight * row
                if kind == "trigger":
                    after[now] += weight * row
        pairs = following
    rows = after[1:4]
    shares = rows / rows.sum(1, keepdims=True)
    blind = -(rows * np.log(np.where(shares > 0, shares, 1))).sum() / rows.sum()
    return {"trigger": loss["trigger"] / total["trigger"], "other": loss["other"] / total["other"], "blind": blind}


@pytest.mark.parametrize("length", [3, 12])
def test_the_best_losses_are_those_of_all_pairs(length):
    best = dataclasses.asdict(chain.best_losses(length))
    for name, value in by_pairs(length).items():
        assert best[name] == pytest.approx(value, abs=1e-9), name
    first = chain.first_symbol().numpy()
    assert best["start"] == pytest.approx(-(first[3:] * np.log(first[3:])).sum())


def test_over_long_sequences_the_best_loss_is_that_of_the_chain_that_copies():
    transitions = chain.transitions()
    leaving = transitions.clone()
    leaving[:, :3] = 0
    leaving += torch.diag(transitions[:, :3].sum(-1))  # a trigger between, and the symbol is there again
    often = chain.stationary(leaving[3:, 3:])
    expected = (often * chain.entropy(transitions[3:])).sum().item()
    assert chain.best_losses(4000).other == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("rule", [True, False])
def test_what_is_lost_by_one_who_knows_is_what_was_drawn(rule):
    ids = chain.sequences(2000, seed=3, rule=rule)
    found = chain.surprise(ids, rule=rule)
    transitions, first = chain.transitions(), chain.first_symbol()
    for row in range(3):
        for pos in range(64):
            now, following = ids[row, pos].item(), ids[row, pos + 1].item() - 1
            if pos == 0:
                expected = -math.log(first[following])
            elif rule and now in (1, 2, 3):
                expected = 0.0
            else:
                expected = -math.log(transitions[now - 1, following])
            assert found[row, pos].item() == pytest.approx(expected)
    if rule:
        others = chain.is_other(ids[:, :-1])
        assert found[others].mean().item() == pytest.approx(chain.best_losses().other, abs=0.015)
        assert found[:, 0].mean().item() == pytest.approx(chain.best_losses().start, abs=0.05)


# ---- what is measured ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained():
    return models.untrained("deep", 0)


@pytest.fixture(scope="module")
def trained():
    return models.committed("adam", 0)


def attention_by_hand(module, layer, ids):
    """Scores, pattern, values, output of a layer's one head, and the states after it: written out for each query."""
    stream = module.embed(ids) + module.pos_embed(torch.arange(ids.shape[1]))
    for number, block in enumerate(module.blocks):
        normed = block.ln1(stream)
        q, k, v = (normed @ w.weight.T for w in (block.attn.W_Q, block.attn.W_K, block.attn.W_V))
        scores, pattern = torch.full((2, *ids.shape, ids.shape[1]), math.nan)
        mixed = torch.zeros_like(v)
        for row in range(len(ids)):
            for query in range(ids.shape[1]):
                each = k[row, : query + 1] @ q[row, query] / 8
                scores[row, query, : query + 1] = each
                pattern[row, query, : query + 1] = each.exp() / each.exp().sum()
                mixed[row, query] = pattern[row, query, : query + 1] @ v[row, : query + 1]
        out = mixed @ block.attn.W_O.weight.T
        stream = stream + out
        stream = stream + block.mlp(block.ln2(stream))
        if number == layer:
            return scores, pattern, v, out, stream
    raise AssertionError


@torch.no_grad()
def test_looks_are_those_of_attention_written_out(untrained):
    ids = chain.sequences(3, seed=1, length=20)
    found = measure.looks(untrained, ids)
    ids = ids[:, :-1]
    others = [(row, query) for row in range(3) for query in range(1, 19) if ids[row, query] > 3]
    triggers = [(row, query) for row in range(3) for query in range(1, 19) if 1 <= ids[row, query] <= 3]
    for layer in (0, 2):
        scores, pattern, v, out, stream = attention_by_hand(untrained.module, layer, ids)
        size = out.norm(dim=-1)
        expected = {
            "sink": np.mean([pattern[row, query, 0].item() for row, query in others]),
            "sink_trigger": np.mean([pattern[row, query, 0].item() for row, query in triggers]),
            "previous": np.mean([pattern[row, query, query - 1].item() for row, query in triggers]),
            "previous_other": np.mean([pattern[row, query, query - 1].item() for row, query in others]),
            "gap": np.mean([(scores[r, q, 0] - scores[r, q, 1 : q + 1].mean()).item() for r, q in others]),
            "output": np.mean([size[at].item() for at in others]) / np.mean([size[at].item() for at in triggers]),
            "value": np.mean([(v[r, 0].norm() / v[r, 1:].norm(dim=-1).mean()).item() for r in range(3)]),
            "peak": np.mean([(stream[r, 0].norm() / stream[r, 1:].norm(dim=-1).mean()).item() for r in range(3)]),
        }
        for name, value in expected.items():
            assert found[f"{name}.{layer}"] == pytest.approx(value, rel=1e-4), (name, layer)


def test_sinks_are_those_of_the_library(trained):
    ids = chain.sequences(1, seed=4)
    found = measure.looks(trained, ids)
    site = trained.attention_sites(None, "pattern")[0]
    with torch.no_grad(), workbench.reading(trained, [site]) as read:
        trained.module(ids[:, :-1])
    mask = chain.is_other(ids[0, :-1])
    assert found["sink.0"] == pytest.approx(sink_mass(read[site][0, 0], queries=mask)[0].item(), rel=1e-5)
    prompt = " ".join(chain.WORDS[number] for number in ids[0, :-1].tolist())
    sinks = workbench.attention_sinks(trained, prompt, position=0)
    assert sinks.keys[0] == "<s>"
    assert sinks.mass[0, 0, 0].item() == pytest.approx(sink_mass(read[site][0, 0])[0].item(), rel=1e-5)
    assert sinks.value_ratio[0, 0, 0].item() == pytest.approx(found["value.0"], rel=1e-4)


def test_an_untrained_head_looks_evenly():
    ids = chain.sequences(64, seed=1)
    sinks = [measure.looks(models.untrained("adam", seed), ids)["sink.0"] for seed in (0, 1, 2)]
    assert max(sinks) < 0.15
    even = intervene.row_to("evenly", torch.zeros(64, 64))
    assert sink_mass(even)[0].item() == pytest.approx(uniform_sink_mass(64)[0].item())
    assert sink_mass(even)[0].item() == pytest.approx(sum(1 / (i + 1) for i in range(1, 64)) / 63)


def test_losses_are_those_of_each_kind(trained):
    ids = chain.sequences(5, seed=2)
    with torch.no_grad():
        chances = trained.module(ids[:, :-1]).logits.double().softmax(-1)
    by_kind: dict[str, list[float]] = {"start": [], "trigger": [], "other": []}
    for row in range(5):
        for pos in range(64):
            kind = "start" if pos == 0 else "trigger" if ids[row, pos] in (1, 2, 3) else "other"
            by_kind[kind].append(-math.log(chances[row, pos, ids[row, pos + 1]].item()))
    found = measure.losses(trained.module, ids)
    for kind, values in by_kind.items():
        assert found[f"loss.{kind}"] == pytest.approx(np.mean(values), abs=1e-4)


# ---- interventions ---------------------------------------------------------------------------------------------------


def test_rows_go_where_they_are_sent():
    pattern = torch.zeros(2, 1, 5, 5)
    assert torch.equal(intervene.row_to("start", pattern), torch.eye(5)[[0, 0, 0, 0, 0]])
    assert torch.equal(intervene.row_to("previous", pattern), torch.eye(5)[[0, 0, 1, 2, 3]])
    even = intervene.row_to("evenly", pattern)
    assert torch.equal(even, torch.tril(torch.ones(5, 5)) / torch.arange(1, 6)[:, None])


def test_a_silenced_head_is_one_whose_output_weights_are_zero(trained):
    ids = chain.sequences(8, seed=2)
    other = models.committed("adam", 0)
    other.module.blocks[0].attn.W_O.weight.data.zero_()
    expected = measure.losses(other.module, ids)
    found = intervene.silenced(trained, ids)
    assert found == pytest.approx(expected, rel=1e-5)
    assert measure.losses(trained.module, ids) != pytest.approx(expected, rel=1e-2)  # and the model is as it was


def test_to_look_at_a_start_without_value_is_to_be_silenced():
    model, ids = models.committed("adam", 0), chain.sequences(8, seed=2)
    block = model.module.blocks[0]
    with torch.no_grad():
        start = block.ln1(model.module.embed.weight[0] + model.module.pos_embed.weight[0])
        value = block.attn.W_V.weight
        value -= torch.outer(value @ start, start) / (start @ start)
    every = torch.ones(8, 64, dtype=torch.bool)
    found = intervene.looking(model, ids, every, "start")
    assert found == pytest.approx(intervene.silenced(model, ids), rel=1e-4)


def test_rows_are_changed_at_the_chosen_queries_alone(trained):
    ids = chain.sequences(8, seed=2)
    at = measure.kinds(ids[:, :-1])
    before = measure.token_losses(trained.module, ids)

    def turn(pattern):
        pattern = pattern.clone()
        for row, query in at["trigger"].nonzero().tolist():
            pattern[row, :, query] = 0
            pattern[row, :, query, 0] = 1
        return pattern

    with workbench.editing(trained, {trained.attention_sites(None, "pattern")[0]: turn}):
        by_hand = measure.token_losses(trained.module, ids)
    assert torch.equal(by_hand[at["other"]], before[at["other"]])
    found = intervene.looking(trained, ids, at["trigger"], "start")
    assert found["loss.trigger"] == pytest.approx(by_hand[at["trigger"]].mean().item(), rel=1e-5)
    assert found["loss.other"] == pytest.approx(before[at["other"]].mean().item(), rel=1e-5)


# ---- growth ----------------------------------------------------------------------------------------------------------


def test_growth_with_the_logarithm_is_told_from_growth_with_time():
    steps = [450, 900, 1800, 3600, 7200]
    found = growth.growth_numbers([0, 200, *steps], [9.0, 9.0, *(2 * math.log(step) + 1 for step in steps)])
    assert found["growth.slope"] == pytest.approx(2)
    assert found["growth.fit"] == pytest.approx(1)
    assert found["growth_over_linear"] > 0.1
    straight = growth.growth_numbers(steps, [step / 100 for step in steps])
    assert straight["growth_over_linear"] == pytest.approx(straight["growth.fit"] - 1)
    assert straight["growth.fit"] < 0.9
    assert math.isnan(growth.growth_numbers([0, 450, 900], [0.0, 1.0, 2.0])["growth.fit"])


# ---- training --------------------------------------------------------------------------------------------------------

SHORT = train.TrainConfig(d_model=16, d_mlp=16, steps=6, batch=4, measured=4, measure_at=(0, 3), keep=(3,))


def test_training_goes_on_where_it_stopped_and_ends_in_the_same_weights(tmp_path):
    whole = train.train(SHORT, tmp_path / "whole")

    def stop(label, done, of):
        if done == 3:
            raise workbench.Stopped

    with pytest.raises(workbench.Stopped), reporting(stop):
        train.train(SHORT, tmp_path / "cut")
    again = train.train(SHORT, tmp_path / "cut")
    assert whole.history == again.history
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    assert (tmp_path / "cut" / "checkpoint-3" / "model.safetensors").is_file()


def test_a_checkpoint_of_other_sizes_is_not_gone_on_with(tmp_path):
    train.train(SHORT, tmp_path)
    with pytest.raises(workbench.BadInput):
        train.train(dataclasses.replace(SHORT, d_mlp=32), tmp_path)


def test_settings_differ_in_one_thing():
    plain = {1: dataclasses.asdict(train.SETTINGS["adam"]), 3: dataclasses.asdict(train.SETTINGS["deep"])}
    for name, config in train.SETTINGS.items():
        changed = {key for key, value in dataclasses.asdict(config).items() if value != plain[config.n_layers][key]}
        changed -= {"keep", "lr", "steps"}  # each optimizer has its own rate
        assert len(changed) == (name not in ("adam", "deep")), (name, changed)


def test_tables_of_tokens_begin_with_the_spread_that_is_asked_for():
    for std in (0.125, 1.0):
        module = train.initial_model(train.TrainConfig(table_std=std))
        assert module.embed.weight.std().item() == pytest.approx(std, rel=0.05)
        assert module.pos_embed.weight.std().item() == pytest.approx(std, rel=0.05)


def test_checkpoints_of_training_are_those_of_the_history():
    history = models.history()
    seen = train.held_out(train.SETTINGS["adam"], 128)
    model = models.committed("adam", 0, checkpoint="450")
    found = {**measure.losses(model.module, seen), **measure.looks(model, seen)}
    row = history[(history["setting"] == "adam") & (history["seed"] == 0) & (history["step"] == 450)]
    for name, value in found.items():
        assert value == pytest.approx(float(row[name].iloc[0]), abs=0.02, rel=0.01), name  # kept in half precision


# ---- the study -------------------------------------------------------------------------------------------------------


def outcomes(model, rule=True):
    """What becomes of the main claims when this model is taken for the trained ones of all seeds."""
    from case_studies.extreme_tokens import study

    claims = [
        claim
        for claim in studies.study("extreme_tokens").claims
        if claim.quantity.startswith("adam.") and "growth" not in claim.quantity and not claim.not_reproduced
    ]
    found, _, _ = study.look_at(model, study.Config(sequences=32), rule=rule)
    judged = studies.Findings(numbers={f"adam.{name}": dict.fromkeys((0, 1, 2), x) for name, x in found.items()})
    return {v.claim.quantity: v.outcome for v in verdicts(judged, claims)}


def test_the_claims_hold_of_the_trained_model(trained):
    assert set(outcomes(trained).values()) == {"holds"}


def test_a_model_that_learned_nothing_fails_them():
    found = outcomes(models.untrained("adam", 0))
    assert {name for name, outcome in found.items() if outcome == "fails"} >= {
        "adam.excess.trigger",
        "adam.sink",
        "adam.sink_beside_even",
        "adam.previous",
        "adam.value",
        "adam.output",
        "adam.silenced.trigger",
        "adam.triggers_to_start.trigger",
        "adam.others_to_previous.other",
    }


def test_a_model_of_data_without_the_rule_fails_them():
    found = outcomes(models.committed("ruleless", 0), rule=False)
    assert {name for name, outcome in found.items() if outcome == "fails"} >= {
        "adam.previous",
        "adam.silenced.trigger",
        "adam.triggers_to_start.trigger",
    }


def test_without_the_real_model_the_study_says_so(monkeypatch):
    from case_studies.extreme_tokens import study

    def offline(name, **options):
        raise workbench.Unavailable("no network")

    real = workbench.load
    monkeypatch.setattr(
        workbench, "load", lambda source, **options: real(source, **options) if "/" in str(source) else offline(source)
    )
    few = study.Config(sequences=8, untrained_seeds=(0,))
    monkeypatch.setattr(models, "COMMITTED", {"adam": (0,), "relu": (0,), "ruleless": (0,)})
    found = study.run(few)
    assert found.skipped == {"real.": "smollm2-135m cannot be had: no network"}
    judged = verdicts(
        found, [one for one in studies.study("extreme_tokens").claims if one.quantity.startswith("real.")]
    )
    assert {verdict.outcome for verdict in judged} == {"not measured"}
    assert "Attention" in found.figures


def test_a_model_without_massive_activations_has_none(monkeypatch):
    from case_studies.extreme_tokens import real

    monkeypatch.setattr(real, "texts", lambda count: ["a b c d", "the cat sat", "one two three"][:count])
    found = real.look_at(workbench.load("tiny:llama"), count=3, changed=2)
    assert found.numbers["real.texts_with_some"] == 0
    assert found.numbers["real.ratio"] < 100
    assert found.numbers["real.sink_heads"] == 0
    assert not [name for name in found.numbers if name.startswith("real.massive")]
