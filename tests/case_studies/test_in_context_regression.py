"""The study of in-context regression: its models, what it measures, and that its claims can fail."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from case_studies.in_context_regression import models, one_step, train, transformers, which
from case_studies.in_context_regression.train import LINEAR, SETTINGS
from workbench import functional, studies
from workbench.studies.judging import verdicts

CLAIMS = studies.study("in_context_regression").claims


def judged(setting: str, numbers: dict[str, float]) -> list[str]:
    """What becomes of the claims about a setting when another model is measured in its place."""
    found: dict[str, Any] = {
        claim.quantity: dict.fromkeys(claim.seeds, numbers[claim.quantity.removeprefix(f"{setting}.")])
        for claim in CLAIMS
        if claim.quantity.startswith(f"{setting}.") and claim.quantity.removeprefix(f"{setting}.") in numbers
    }
    claims = [c for c in CLAIMS if c.quantity in found and not c.control and not c.not_reproduced]
    return [verdict.outcome for verdict in verdicts(studies.Findings(numbers=found), claims)]


def made(step_size: float) -> transformers.LinearRegressor:
    """The construction as a module."""
    module = transformers.LinearRegressor(LINEAR.d)
    weights = functional.descent_attention(LINEAR.d, LINEAR.n, step_size=step_size)
    with torch.no_grad():
        module.key_query.copy_(weights.key_query)
        module.value.copy_(weights.value)
    return module


# ---- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["linear", "softmax-2-0.5"])
def test_queries_are_answered_one_by_one_and_from_the_examples_alone(setting):
    config = SETTINGS[setting]
    module = models.committed(setting, 0)
    drawn = functional.regression_problems(6, config.n, config.d, inputs=config.inputs, noise=config.noise)
    queries = torch.stack([drawn.query, drawn.query.roll(1, 0), drawn.query * 0], 1)
    with torch.no_grad():
        together = module(drawn.x, drawn.y, queries)
        for at in range(3):
            torch.testing.assert_close(
                module(drawn.x, drawn.y, queries[:, at : at + 1])[:, 0], together[:, at], atol=1e-5, rtol=1e-4
            )
        order = torch.randperm(config.n, generator=torch.Generator().manual_seed(0))
        mixed = module(drawn.x[:, order], drawn.y[:, order], queries)
        torch.testing.assert_close(mixed, together, atol=1e-5, rtol=1e-4)  # a set of examples, in no order
        other = transformers.predictor(module)(drawn.x, drawn.y, drawn.query)
        torch.testing.assert_close(other, together[:, 0], atol=1e-5, rtol=1e-4)


def test_the_linear_layer_with_the_weights_of_the_construction_is_one_step():
    drawn = one_step.problems(50, 3)
    with torch.no_grad():
        said = made(1.3)(drawn.x, drawn.y, drawn.query[:, None])[:, 0]
    expected = functional.gradient_descent(drawn.x, drawn.y, drawn.query, step_size=1.3)
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-4)


def test_committed_models_and_their_history_are_of_the_same_training():
    history = models.history()
    for setting in SETTINGS:
        seeds = models.seeds_of(setting)
        assert 0 in seeds
        assert sorted(history.loc[history["setting"] == setting, "seed"].unique()) == list(seeds)
    config = SETTINGS["softmax-2-0.0"]
    last = history.query("setting == 'softmax-2-0.0' and seed == 0")["loss"].tolist()[-1]
    with torch.no_grad():
        again = train.loss_of(models.committed("softmax-2-0.0", 0), config, 2000, 2**40)
    assert again.item() == pytest.approx(last, rel=0.02)  # weights are kept in half precision


def test_problems_of_training_are_those_of_their_seed_and_permuted_labels_belong_to_others():
    config = SETTINGS["permuted"]
    x, y, queries, answers = train.drawn(config, 40, 5)
    plain = train.drawn(dataclasses.replace(config, permuted=False), 40, 5)
    assert torch.equal(x, plain[0])
    assert torch.equal(y[1:], plain[1][:-1])
    assert x.shape == (40, 8, 4) and queries.shape == (40, 8, 4)
    weights = functional.least_squares_weights(*plain[:2])
    torch.testing.assert_close(torch.einsum("pqd,pd->pq", queries, weights), answers, atol=1e-3, rtol=1e-2)


def test_training_goes_on_where_it_stopped_and_ends_in_the_same_weights(tmp_path):
    config = train.TrainConfig(steps=6, batch=8, every=3, warmup=2)
    straight = train.train(config, tmp_path / "a").module

    with pytest.MonkeyPatch.context() as patch:
        plain = train.loss_of
        calls = iter(range(100))

        def cut(module, settings, problems, seed):
            if problems == 8 and next(calls) == 4:
                raise KeyboardInterrupt
            return plain(module, settings, problems, seed)

        patch.setattr(train, "loss_of", cut)
        with pytest.raises(KeyboardInterrupt):
            train.train(config, tmp_path / "b")
    resumed = train.train(config, tmp_path / "b").module
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


# ---- what is measured ------------------------------------------------------------------------------------------------


def test_the_construction_itself_holds_every_claim_about_the_linear_layer():
    step_size = one_step.fitted_step(0)
    assert step_size == pytest.approx(1.515, abs=0.03)  # of the population: d / 3 over the mean square of X'X / n
    numbers, tables, _ = one_step.numbers(made(step_size), 0, count=200)
    assert set(judged("linear", numbers)) == {"holds"}
    assert numbers["weights_cosine"] == pytest.approx(1)
    assert tables["Between"]["loss"].std() < 1e-6


def test_an_untrained_layer_and_one_of_other_weights_fail_the_claims():
    numbers, _, _ = one_step.numbers(models.untrained("linear", 0), 0, count=200)
    assert judged("linear", numbers).count("fails") >= 7
    module = made(one_step.fitted_step(0))
    with torch.no_grad():
        module.key_query[:, [0, 1, 2, 3, 4]] = module.key_query[:, [4, 0, 1, 2, 3]]  # queries match other inputs
    numbers, _, _ = one_step.numbers(module, 0, count=200)
    assert judged("linear", numbers).count("fails") >= 5


def test_scale_and_sign_of_the_matrices_do_not_count():
    plain = models.committed("linear", 0)
    other = models.committed("linear", 0)
    with torch.no_grad():
        other.key_query.mul_(-3)
        other.value.div_(-3)
        torch.testing.assert_close(one_step.product(other.weights()), one_step.product(plain.weights()))
        scaled, own = (one_step.in_step(module.weights(), LINEAR.d) for module in (other, plain))
    torch.testing.assert_close(scaled.key_query, own.key_query)
    torch.testing.assert_close(scaled.value, own.value)


class Ridge(torch.nn.Module):
    """Answers by ridge regression, and holds X'y in its states."""

    def __init__(self, penalty: float) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, x, y, queries):
        return torch.einsum("pqd,pd->pq", queries, functional.ridge_weights(x, y, penalty=self.penalty))

    def states(self, x, y, queries):
        return [x, x * y[..., None]]


def test_ridge_regression_is_found_with_its_penalty_and_holds_the_claims():
    for setting, penalty in [("softmax-4-0.5", 0.25), ("softmax-4-1.0", 1.0)]:
        numbers, cell = which.numbers(Ridge(penalty), SETTINGS[setting], 0, count=100)
        assert numbers["penalty"] == pytest.approx(penalty, rel=0.4)
        assert cell["closest"] == f"ridge, penalty {penalty:g}"
        assert set(judged(setting, numbers)) == {"holds"}
    numbers, cell = which.numbers(Ridge(0.0), SETTINGS["softmax-4-0.0"], 0, count=100)
    assert cell["closest"] == "least squares"
    assert set(judged("softmax-4-0.0", numbers)) == {"holds"}


@pytest.mark.parametrize("setting", ["softmax-4-0.0", "softmax-4-0.5", "softmax-4-1.0"])
def test_models_that_learned_nothing_or_something_else_fail_the_claims(setting):
    config = SETTINGS[setting]
    for module in (models.untrained(setting, 0), models.committed("permuted", 0), Ridge(8.0)):
        numbers, _ = which.numbers(module, config, 0, count=100)
        assert "fails" in judged(setting, numbers)


def test_a_probe_finds_what_the_states_hold_and_nothing_else():
    table = which.probe_table(Ridge(1.0), SETTINGS["softmax-1-0.0"], 0, count=300).set_index(["layer", "target"])["r2"]
    assert table[(1, "X'y / n")] > 0.99
    assert table[(0, "X'y / n")] < 0.2
    assert table[(1, "X'y / n of another problem")] < 0.1
    assert np.isfinite(table).all()
