"""Steering along a fitted circle or line: closed forms, answers that must move, and controls that must not."""

import itertools

import numpy as np
import pytest
import torch

import workbench
from probes.answer_reader import AnswerReader
from probes.fitted_feature import fitted_feature
from probes.fourier_steering import _targets
from tests.probes.planted_circle import D, planted_model

RANDOM = np.random.default_rng(0)


def helix(n=30, period=10.0):
    """States on a circle that is no round one and a line, and the directions of cos, sin and value."""
    u, v, w, offset = RANDOM.normal(size=(4, 12))
    at = np.arange(n, dtype=float)
    angle = 2 * np.pi * at / period
    return at, np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * v + at[:, None] * w + offset, u, v, w


def test_a_turn_takes_states_to_those_of_the_angle():
    at, states, u, v, w = helix()
    fit = fitted_feature(states, at, "circle", 10.0, with_value=True)
    np.testing.assert_allclose(fit.directions, [u, v], atol=1e-10)
    turned = states + fit.turned(states, 2 * np.pi * 3 / 10)
    np.testing.assert_allclose(turned[:27], states[3:] - 3 * w, atol=1e-9)  # around, and not up
    np.testing.assert_allclose(turned[27], states[20] + 7 * w, atol=1e-9)
    moved = turned - states
    np.testing.assert_allclose(moved - moved @ fit.plane @ fit.plane.T, 0, atol=1e-9)
    np.testing.assert_allclose(states + fit.turned(states, 2 * np.pi), states, atol=1e-9)


def test_a_turn_leaves_what_is_not_in_the_plane():
    at, states, *_ = helix()
    noisy = states + RANDOM.normal(size=states.shape)
    fit = fitted_feature(noisy, at, "circle", 10.0, with_value=True)
    moved = fit.turned(noisy, 1.0)
    assert np.linalg.matrix_rank(moved, tol=1e-8) == 2
    np.testing.assert_allclose(moved, moved @ fit.plane @ fit.plane.T, atol=1e-9)
    columns = np.stack([np.cos(2 * np.pi * at / 10), np.sin(2 * np.pi * at / 10), at - at.mean(), np.ones(30)], 1)
    weights = np.linalg.lstsq(columns, noisy, rcond=None)[0]
    np.testing.assert_allclose(fit.directions, weights[:2], atol=1e-9)
    away = noisy - noisy.mean(0)
    left = away - (weights[:2].T @ np.linalg.lstsq(weights[:2].T, away.T, rcond=None)[0]).T
    assert fit.explained == pytest.approx(1 - (left**2).sum() / (away**2).sum())


def test_a_share_is_a_share_where_circle_and_value_are_much_alike():
    at = np.arange(6.0)
    angle = 2 * np.pi * at / 6
    states = np.stack([3 * np.sin(angle) + at, np.cos(angle)], 1)  # cos, sin and value overlap: the sine takes too much
    fit = fitted_feature(states, at, "circle", 6.0, with_value=True)
    fitted = np.stack([np.cos(angle), np.sin(angle)], 1) @ fit.directions
    assert ((fitted - fitted.mean(0)) ** 2).sum() > ((states - states.mean(0)) ** 2).sum()
    assert fit.explained == pytest.approx(1)


def test_a_shift_adds_the_slope_and_the_shortest_period_turns_half_around():
    at, states, _, _, w = helix()
    line = fitted_feature(states[:, :] * 0 + at[:, None] * w, at, "value", 10.0, with_value=True)
    np.testing.assert_allclose(line.shifted(states, 4.0), np.tile(4 * w, (30, 1)), atol=1e-10)
    assert line.plane.shape == (12, 1)
    back = (-1.0) ** np.arange(8)[:, None] * RANDOM.normal(size=12)
    fit = fitted_feature(back, np.arange(8.0), "circle", 2.0, with_value=False)
    np.testing.assert_allclose(back + fit.turned(back, np.pi), -back, atol=1e-9)
    assert fit.plane.shape == (12, 1)


def test_turning_a_planted_circle_moves_the_answer_as_it_must():
    steered = workbench.fourier_steering(planted_model(12, period=12.0, noise=0.01), "0-11", by=(1, 3, -2), layer=0)
    before = torch.arange(12)
    assert torch.equal(steered.before, before)
    for at, by in enumerate((1, 3, -2)):
        assert torch.equal(steered.targets[at], (before + by) % 12)
        assert torch.equal(steered.answers[0, at], (before + by) % 12)
        assert torch.equal(steered.answers[1, at], (before + by) % 12)
        assert (steered.answers[2:, at] == (before + by) % 12).double().mean() < 0.3
    torch.testing.assert_close(steered.carried[:2], torch.ones(2, 3, 12, dtype=torch.float64), rtol=0, atol=0.05)
    assert steered.follows[0].tolist() == [1, 1, 1]
    assert steered.carried[2:].nanmean() < 0.4
    assert steered.explained > 0.95
    means = steered.means().query("by == '3'").set_index("arm")
    assert means.loc["circle turned", "carried"] > 0.95 and means.loc["circle turned", "differing"] == 12
    assert means.loc["random plane", "counted"] == 60


def test_shifting_a_planted_line_moves_the_answer_as_it_must():
    model = planted_model(20, line=True, noise=0.01)
    steered = workbench.fourier_steering(model, "0-19", feature="value", by=(4,), draws=3)
    assert steered.arms[0] == "value shifted"
    assert steered.answers[0, 0, :16].tolist() == list(range(4, 20))
    assert steered.targets[0].tolist() == [*range(4, 20), -1, -1, -1, -1]
    assert steered.carried[:, 0, 16:].isnan().all() and steered.carried[:, 0, :16].isfinite().all()
    assert steered.to_frame().query("counted == 0")["value"].unique().tolist() == ["16", "17", "18", "19"]
    assert steered.to_frame().query("counted == 0")["target"].eq("").all()
    assert steered.follows[0, 0] == 1 and steered.follows[2:5].max() < 0.3


def test_one_value_alone_and_what_it_answers():
    model = planted_model(12, period=12.0, noise=0.01)
    one = workbench.fourier_steering(model, "0-11", value="7", by=(6,), draws=1, seed=3)
    every = workbench.fourier_steering(model, "0-11", by=(6,), draws=1, seed=3)
    assert one.values == ("7",) and one.answers.shape == (4, 1, 1)
    torch.testing.assert_close(one.carried[..., 0], every.carried[..., 7])
    assert one.to_frame()["after"][0] == "1"


def test_changes_are_as_long_in_every_arm_and_controls_are_drawn_anew(monkeypatch):
    model, given = planted_model(12, period=12.0, noise=0.4), []

    class Recorded(AnswerReader):
        def __call__(self, rows, changes):
            given.append(changes)
            return super().__call__(rows, changes)

    monkeypatch.setattr("probes.fourier_steering.AnswerReader", Recorded)
    steered = workbench.fourier_steering(model, "0-11", layer=1, by=(1, 2), draws=2)
    changes = given[1].reshape(6, 2, 12, D)  # (arm, step, value, d)
    rows = model.module.embed.weight[:12].detach().double().numpy()
    lengths = np.linalg.norm(changes, axis=-1)
    for arm in (0, 2, 3, 4, 5):
        np.testing.assert_allclose(lengths[arm], lengths[0], rtol=1e-6)
        np.testing.assert_allclose(lengths[arm] / np.linalg.norm(rows, axis=1), steered.sizes, rtol=1e-6)
    np.testing.assert_allclose(changes[1, 1], np.roll(rows, -2, 0) - rows, atol=1e-6)
    for arm, other in itertools.combinations((0, 2, 3, 4, 5), 2):
        assert not np.allclose(changes[arm], changes[other], rtol=0.1)
    for arm in (2, 3):  # a plane is a plane
        assert np.linalg.matrix_rank(changes[arm].reshape(-1, D), tol=1e-6) == 2
    again = workbench.fourier_steering(model, "0-11", layer=1, by=(1, 2), draws=2, seed=1)
    assert torch.equal(again.carried[:2], steered.carried[:2])
    assert not torch.equal(again.carried[2:], steered.carried[2:])


def test_the_state_of_the_value_alone_is_changed_and_the_answer_read_at_the_end(tiny):
    model, template = tiny("gpt2"), "ab {} cd"
    steered = workbench.fourier_steering(model, "digits", template=template, layer=0, by=(3,), draws=1)
    texts = [template.format(digit) for digit in "0123456789"]
    at = len(model.labels(model.encode(texts[0]))) - len("0 cd")
    site, ids = "blocks.0.resid_post", workbench.variable("digits", model).tokens()

    def answered(text, state=None):
        def replaced(stream):
            stream = stream.clone()
            stream[0, at] = state
            return stream

        with torch.no_grad(), workbench.editing(model, {} if state is None else {site: replaced}):
            return model.logits(model.encode(text))[0, -1, ids].double()

    states = []
    for text in texts:
        with torch.no_grad(), workbench.reading(model, [site]) as values:
            model.module(**model.encode(text))
        states.append(values[site][0, at])
    for digit, text in enumerate(texts):
        target = (digit + 3) % 10
        clean, wanted, found = answered(text), answered(texts[target]), answered(text, states[target])
        assert steered.before[digit] == clean.argmax() and steered.answers[1, 0, digit] == found.argmax()
        made, asked = found - clean, wanted - clean
        made, asked = made - made.mean(), asked - asked.mean()
        assert steered.carried[1, 0, digit].item() == pytest.approx((made @ asked / (asked @ asked)).item(), abs=1e-3)


def test_targets_go_around_within_a_period_or_along_the_line():
    numbers = workbench.variable("20-49")
    around = _targets(numbers, 3, 10.0).tolist()
    assert around[8] == 1 and around[0] == 3 and around[27] == 20  # 28 -> 21, 20 -> 23, 47 -> 40
    assert _targets(numbers, 3, None).tolist() == [*range(3, 30), -1, -1, -1]
    assert _targets(numbers, -3, None).tolist()[:4] == [-1, -1, -1, 0]
    tens = workbench.variable("0-110:10")
    assert _targets(tens, 1, 30.0).tolist() == [1, 2, 0, 4, 5, 3, 7, 8, 6, 10, 11, 9]
    assert _targets(workbench.variable("days"), 1, 7.0).tolist() == [1, 2, 3, 4, 5, 6, 0]


def test_targets_of_a_period_between_steps_go_around_after_whole_periods():
    prime = workbench.variable("0-22")
    for k in (2, 4, 11):
        assert _targets(prime, 3, 23 / k).tolist() == [(i + 3) % 23 for i in range(23)]
    assert _targets(prime, -1, 5.75).tolist() == [(i - 1) % 23 for i in range(23)]
    assert _targets(workbench.variable("0-9"), 1, 2.5).tolist() == [
        1,
        2,
        3,
        4,
        0,
        6,
        7,
        8,
        9,
        5,
    ]  # two periods are five
    assert _targets(workbench.variable("0-58"), 1, 5.3636)[58] == 0  # 59 / 11, as one may write it


def test_a_planted_circle_of_a_prime_turns_by_whole_steps():
    model = planted_model(23, period=23 / 4, noise=0.01)
    steered = workbench.fourier_steering(model, "0-22", period=23 / 4, by=(1, 5), draws=1)
    for at, by in enumerate((1, 5)):
        assert torch.equal(steered.answers[0, at], (torch.arange(23) + by) % 23)
    assert steered.follows[0].tolist() == [1, 1]


def test_states_are_moved_before_a_block_too(tiny):
    model, template = tiny("gpt2"), "ab {} cd"
    asked = {"template": template, "by": (3,), "draws": 1}
    after, before = (
        workbench.fourier_steering(model, "digits", layer=layer, stream=stream, **asked)
        for layer, stream in ((0, "after"), (1, "before"))
    )
    assert torch.equal(after.carried, before.carried)
    assert "Moved before block 1" in before.brief()[0] and "Moved after block 0" in after.brief()[0]
    # before the first block nothing has mixed: the embeddings of the other value are the other value
    whole = workbench.fourier_steering(model, "digits", layer=0, stream="before", **asked)
    torch.testing.assert_close(whole.carried[1], torch.ones_like(whole.carried[1]), rtol=0, atol=1e-3)
    assert torch.equal(whole.answers[1, 0], whole.wanted[0])


def test_after_the_last_block_nothing_flows_to_an_answer_elsewhere(tiny):
    model = tiny("gpt2")
    last = model.n_blocks - 1
    with pytest.raises(workbench.BadInput, match=f"After block {last}, the last, nothing flows.*stream='before'"):
        workbench.fourier_steering(model, "digits", template="ab {} cd", layer=last)
    workbench.fourier_steering(model, "digits", template="ab {}", layer=last, draws=1)
    workbench.fourier_steering(model, "digits", template="ab {} cd", layer=last, stream="before", draws=1)


@pytest.mark.parametrize(
    ("variable", "options", "says"),
    [
        ("letters", {"period": 27.0}, "above the range"),
        ("letters", {"period": 1.0}, "below two steps"),
        ("letters", {"period": 6.6}, "a whole number is at most 26 such steps; 6.6 is neither. Near it is 26 / 4"),
        ("letters", {"by": (26,)}, "goes around to where it began"),
        ("letters", {"period": 6.5, "by": (13,)}, "goes around to where it began"),
        ("letters", {"by": (1, 0)}, "none of them 0"),
        ("letters", {"by": (30,), "feature": "value"}, "has another to go to"),
        ("letters", {"value": "A"}, "no value 'A'"),
        ("a,b,c,d", {}, "4 values; a circle is fitted to 6 or more"),
        ("days", {}, "7 of the 7 values of days are not one token in tiny:gpt2: 'Monday'"),
        ("positions", {}, "places in the input"),
    ],
)
def test_what_cannot_be_is_a_sentence(tiny, variable, options, says):
    with pytest.raises(workbench.BadInput, match=says):
        workbench.fourier_steering(tiny("gpt2"), variable, **options)
