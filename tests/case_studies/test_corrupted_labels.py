"""The corrupted labels study: its data, its gradient, its pruning, and that its claims fail where they should."""

import dataclasses
import itertools
import math

import pytest
import torch

import workbench
from case_studies.corrupted_labels import data, network, neurons, small, study, train
from workbench import functional, studies
from workbench.errors import Stopped
from workbench.studies import Findings

CONFIG = train.TrainConfig(p=7, neurons=12, steps=6, measure_every=3, weight_decay=0.1)


@pytest.fixture(scope="module")
def coexistence():
    """The committed network that knows both, its sums, and its neurons."""
    settings, sums, trained = study.committed("coexistence")
    assert (settings.weight_decay, settings.corrupted) == (0, 0.35)
    return sums, trained, neurons.of_network(trained, sums)


# ---- the sums --------------------------------------------------------------------------------------------------------


def test_groups_part_the_pairs_and_only_corrupted_labels_are_not_the_sum():
    sums = data.corrupted_sums(23, corrupted=0.35, train_share=0.5, generator=torch.Generator().manual_seed(1))
    masks = torch.stack([sums.corrupted, sums.uncorrupted, sums.test])
    assert (masks.sum(0) == 1).all()
    assert masks.sum(1).tolist() == [92, 172, 265]  # of 529: half trained, .35 of those corrupted
    assert sums.pairs.tolist() == [[a, b] for a, b in itertools.product(range(23), repeat=2)]
    right = sums.pairs.sum(-1) % 23 == sums.labels
    assert right[~sums.corrupted].all()
    assert right[sums.corrupted].double().mean() < 0.15  # by chance 1 in 23
    wrong = sums.labels[sums.corrupted].bincount(minlength=23)
    assert len(wrong) == 23
    assert wrong.max() < 14  # even over the numbers: 4 of each


def test_accuracies_are_those_of_each_group():
    sums = data.corrupted_sums(5, corrupted=0.5, train_share=0.5, generator=torch.Generator().manual_seed(0))
    outputs = torch.nn.functional.one_hot(sums.labels, 5).float()
    outputs[sums.test] = outputs[sums.test].roll(1, -1)
    assert sums.accuracies(outputs) == {"corrupted": 1, "uncorrupted": 1, "train": 1, "test": 0}
    right = torch.nn.functional.one_hot(sums.pairs.sum(-1) % 5, 5).float()
    found = sums.accuracies(right)
    assert (found["uncorrupted"], found["test"]) == (1, 1)
    assert found["corrupted"] < 1
    assert found["train"] == pytest.approx((6 + 6 * found["corrupted"]) / 12)


# ---- the network -----------------------------------------------------------------------------------------------------


def test_the_loss_and_its_gradients_are_those_that_autograd_finds():
    sums, made = train.start(train.TrainConfig(p=41, neurons=20))  # 1681 pairs: more than go at once
    made.double()
    loss = made.loss(sums.pairs, sums.labels)
    (3 * loss).backward()
    found = [table.grad for table in made.parameters()]
    made.zero_grad()  # to None
    first, second = (torch.nn.functional.one_hot(column, 41).double() for column in sums.pairs.T)
    outputs = (first @ made.left + second @ made.right) ** 2 @ made.out.T
    plain = (outputs - torch.nn.functional.one_hot(sums.labels, 41)).square().mean()
    (3 * plain).backward()
    assert loss.item() == pytest.approx(plain.item())
    torch.testing.assert_close(made(sums.pairs), outputs)
    for gradient, table in zip(found, made.parameters(), strict=True):
        torch.testing.assert_close(gradient, table.grad)


def test_a_committed_network_says_where_it_is_from_and_is_read_back(tmp_path):
    _, made = train.start(CONFIG)
    with torch.no_grad():
        for table in made.parameters():
            table[:, -2:] = 1e-9  # dead: nothing is left of them in float16
    network.save_network(made, tmp_path / "n.safetensors", train.provenance(CONFIG, 6, {"test": 0.5}))
    again, provenance = network.load_network(tmp_path / "n.safetensors")
    assert train.TrainConfig(**provenance["settings"] | {"betas": tuple(provenance["settings"]["betas"])}) == CONFIG
    assert provenance["measured"] == {"test": 0.5}
    for name in network.TABLES:
        torch.testing.assert_close(getattr(again, name), getattr(made, name).detach().half().float())


def test_training_goes_on_where_it_stopped(tmp_path):
    whole = train.trained(CONFIG, tmp_path / "whole")
    assert [row["step"] for row in whole.history] == [0, 3, 6]

    def cut(module, step):
        if step == 4:
            raise Stopped

    with pytest.raises(Stopped):
        train.trained(CONFIG, tmp_path / "cut", keep=(4,), save=cut)
    again = train.trained(CONFIG, tmp_path / "cut")
    assert list(again.history) == list(whole.history)
    for name in network.TABLES:
        assert torch.equal(getattr(again.module, name), getattr(whole.module, name))


# ---- neurons ---------------------------------------------------------------------------------------------------------


def test_dead_neurons_are_counted_and_go_first_in_every_order():
    scores = torch.tensor([0.5, math.nan, 0.04, 0.9, math.nan, 0.3])
    found = neurons.orders(scores, draws=3, seed=0)
    assert found["low IPR first"][0].tolist() == [1, 4, 2, 5, 0, 3]
    assert found["high IPR first"][0].tolist() == [1, 4, 3, 0, 5, 2]
    for order in found["at random"]:
        assert order[:2].tolist() == [1, 4]
        assert sorted(order.tolist()) == list(range(6))
    assert len({tuple(order.tolist()) for order in found["at random"]}) > 1
    sums, made = train.start(CONFIG)
    with torch.no_grad():
        for table in made.parameters():
            table[:, :2] = 0
    of_network = neurons.of_network(made, sums)
    assert of_network.dead == 2
    assert len(of_network.alive) == 10
    assert study.spread(of_network)["dead"] == pytest.approx(2 / 12)


@torch.no_grad()
def test_pruning_is_zeroing_and_answering_again():
    sums, made = train.start(CONFIG)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    found = neurons.pruned(neurons.of_network(made, sums), sums, order, (0.0, 0.25, 0.5, 1.0))
    for row, count in zip(found.to_dict("records"), (0, 3, 6, 12), strict=True):
        tables = [table.clone() for table in made.parameters()]
        for table in tables:
            table[:, order[:count]] = 0
        assert row == {"pruned": count / 12, **sums.accuracies(network.network_of(*tables)(sums.pairs))}


def test_phases_are_those_of_the_paper():
    named = {
        (0.98, 0.98): "coexistence",
        (0.75, 0.99): "partial inversion",
        (0.65, 1.0): "full inversion",
        (0.95, 0.5): "memorisation",
        (0.5, 0.5): "forgetting",
        (0.9, 0.9): "coexistence",
        (0.71, 0.9): "partial inversion",
        (0.69, 0.9): "full inversion",
    }
    for (on_train, on_test), name in named.items():
        assert study.phase(on_train, on_test, 0.35) == name


@torch.no_grad()
def test_the_transformer_is_answered_from_tables_and_pruned_as_by_editing_it():
    config = small.SmallTrainConfig(p=5, d_model=8, n_heads=2, d_mlp=12)
    sums, module = small.start(config)
    model = workbench.adapt(module.eval(), small.words(5))
    whole = model.logits(model.encode(small.prompts(sums)))[:, -1, :5]
    torch.testing.assert_close(small.outputs(module, sums.pairs), whole)
    found = small.of_transformer(model, sums)
    torch.testing.assert_close(found.rest + found.hidden @ found.out, whole)
    order = functional.pruning_order(found.ipr, "highest")
    with workbench.editing(model, {"blocks.0.mlp.post": lambda x: x.index_fill(-1, order[:6], 0.0)}):
        edited = model.logits(model.encode(small.prompts(sums)))[:, -1, :5]
    [row] = neurons.pruned(found, sums, order, (0.5,)).to_dict("records")
    assert row == {"pruned": 0.5, **sums.accuracies(edited)}


# ---- what is claimed -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run():
    return studies.run_study("corrupted_labels")


def claims_about(numbers, quantity):
    claims = [claim for claim in studies.study("corrupted_labels").claims if claim.quantity == quantity]
    assert claims, quantity
    return [verdict.outcome for verdict in studies.verdicts(Findings(numbers=numbers), claims)]


def test_the_study_gives_what_it_claims(run):
    assert run.as_expected, repr(run)
    assert sum(verdict.claim.control and verdict.outcome == "holds" for verdict in run.verdicts) >= 6


def test_without_the_order_of_the_ipr_pruning_parts_nothing(coexistence):
    sums, _, found = coexistence
    mixed = found.ipr[torch.randperm(len(found.ipr), generator=torch.Generator().manual_seed(0))]
    rows = neurons.curves(found, sums, scores=mixed, draws=1)
    numbers = {f"coexistence.{name}": value for name, value in study.pruning_numbers(rows).items()}
    for quantity in ("low_first.corrupted", "low_first.test", "high_first.corrupted", "high_first.test"):
        assert claims_about(numbers, f"coexistence.{quantity}") == ["fails"], quantity


def test_another_networks_labels_are_not_known_by_heart(coexistence):
    _, trained, _ = coexistence
    other = train.start(train.TrainConfig(seed=1))[0]
    found = other.accuracies(trained(other.pairs))
    assert found["corrupted"] < 0.1
    numbers = {f"coexistence.{name}": value for name, value in found.items()}
    assert claims_about(numbers, "coexistence.corrupted") == ["fails"]


def test_networks_in_one_anothers_place_fail_the_claims(run):
    numbers = dict(run.findings.numbers)
    for name, other in (("coexistence", "full_inversion"), ("full_inversion", "coexistence")):
        swapped = {q.replace(f"{other}.", f"{name}.", 1): v for q, v in numbers.items() if q.startswith(f"{other}.")}
        failed = [v for v in studies.verdicts(Findings(numbers=swapped), run.study.claims) if v.outcome == "fails"]
        assert f"{name}.train" in {verdict.claim.quantity for verdict in failed}


def test_half_of_the_analytic_solution_is_the_analytic_solution_of_half(run):
    table = run.findings.tables["Written down"]
    assert set(table["neurons"]) == {100, 200, 500, 2000}
    assert (table["accuracy"] >= table["accuracy of half"]).all()
    weights = functional.quadratic_modular_weights(97, 500, seed=0)
    spectra = functional.inverse_participation_ratio(weights.left)
    assert spectra.min() > 1 - 1e-4


def test_settings_are_those_of_the_paper():
    decays = {name: dataclasses.asdict(config) for name, config in train.networks(0).items()}
    assert [decays[name]["weight_decay"] for name in study.PHASES] == [0, 5, 15, 20]
    for settings in decays.values():
        assert (settings["p"], settings["neurons"], settings["train_share"]) == (97, 500, 0.5)
        assert (settings["lr"], settings["betas"]) == (0.01, (0.9, 0.98))
