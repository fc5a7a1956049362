"""The Fourier probe: a planted circle is found and only it, each value's own state is read, and what cannot be."""

import numpy as np
import pytest
import torch

import workbench
from probes.fourier_fits import held_out, waves
from tests.probes.planted_circle import planted_model


@pytest.fixture(scope="module")
def circle():
    return planted_model(30, period=10.0)


def test_a_planted_circle_is_found_in_every_layer_and_only_it(circle):
    probe = workbench.fourier_probe(circle, "0-29", periods=(10.0, 7.5, 30.0))
    assert probe.layers == ("embed", "0", "1")
    assert probe.features == ("period 10", "period 7.5", "period 30", "value", "helix")
    assert (probe.r2[:, 0] > 0.95).all() and (probe.p[:, 0] == 0.01).all() and (probe.p_any[:, 0] == 0.01).all()
    assert (probe.r2[:, 1:4] < 0.3).all() and (probe.p[:, 1:4] > 0.02).all()
    searched = workbench.fourier_probe(circle, "0-29", draws=19)
    assert searched.features == ("searched period", "value", "helix")
    assert (searched.found == 10).all()
    assert searched.chosen == ("10 in 5 of 5",) * 3
    torch.testing.assert_close(searched.r2[:, 0], probe.r2[:, 0])


def test_a_planted_line_is_a_value(circle):
    probe = workbench.fourier_probe(planted_model(30, line=True), "0-29", periods=(10.0,), draws=19)
    assert (probe.r2[:, 1] > 0.95).all() and (probe.p[:, 1] == 0.05).all()
    assert (probe.r2[:, 0] < 0.3).all()
    assert workbench.fourier_probe(circle, "0-29", periods=(10.0,), draws=19).r2[0, 1].max() < 0.3


def test_numbers_are_those_of_the_fits_on_states_read_one_by_one(tiny):
    """Words of several tokens, at their last one, in two templates."""
    model, words = tiny("gpt2"), ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen")
    templates = ("{} is it", "it is {} now")
    probe = workbench.fourier_probe(
        model, ",".join(words), templates=templates, periods=(3.5,), draws=19, folds=3, seed=4
    )
    random = np.random.default_rng(4)
    parts = random.permutation(np.arange(7) % 3)
    orders = np.stack([np.arange(7), *(random.permutation(7) for _ in range(19))])
    at = np.arange(7.0)
    columns = np.concatenate([at[:, None], waves(at, [3.5])[:, 0]], 1)
    for number, site in enumerate(("blocks.0.resid_pre", "blocks.0.resid_post", "blocks.1.resid_post")):
        states = []
        for template in templates:
            rows = []
            for word in words:
                text = template.format(word)
                labels = model.labels(model.encode(text))  # a token is a character, after those that begin a text
                end = len(labels) - len(text) + len(template.partition("{}")[0]) + len(word) - 1
                assert labels[end] == word[-1]
                with workbench.reading(model, [site]) as values:
                    model.module(**model.encode(text))
                rows.append(values[site][0, end].detach().double().numpy())
            states.append(rows)
        by_hand = held_out(np.array(states), columns, [(1, 2), (0,), (0, 1, 2)], parts, orders, 1.0)
        np.testing.assert_allclose(probe.r2[number], by_hand.r2[..., 0].T, atol=1e-5)
        above = by_hand.r2[..., 1:] >= by_hand.r2[..., :1]
        np.testing.assert_allclose(probe.p[number], (1 + above.sum(-1).T) / 20)


def test_the_best_layer_of_a_random_order_is_what_all_layers_are_held_against(tiny):
    probe = workbench.fourier_probe(tiny("gpt2"), "letters", periods=(13.0,), draws=39)
    assert (probe.p_any >= probe.p).all()
    assert (probe.p_any > probe.p).any()
    best = probe.r2.argmax(0)
    assert (probe.p_any.gather(0, best[None]) <= probe.p_any).all()


def test_other_parts_and_places_can_be_read(tiny):
    probe = workbench.fourier_probe(tiny("gpt2"), "letters", part="mlp_out", periods=(26.0,), draws=19)
    assert probe.states == ("blocks.0.mlp_out", "blocks.1.mlp_out") and probe.layers == ("0", "1")
    days = workbench.fourier_probe(tiny("gpt2"), "days", templates=("today is {}.",), read="last", draws=19)
    assert days.n_values == 7 and days.chosen[1]
    places = workbench.fourier_probe(tiny("gpt2"), "positions:24", periods=(8.0,), draws=19)
    assert places.n_values == 24 and places.r2.isfinite().all()


def test_states_that_do_not_differ_are_undefined_and_counted(tiny):
    """The last token has not seen the value before the first block."""
    asked = {"templates": ("{} x",), "read": "last", "draws": 19}
    probe = workbench.fourier_probe(tiny("gpt2"), "letters", periods=(26.0,), **asked)
    for numbers in (probe.r2, probe.p, probe.p_any, probe.chance):
        assert numbers[0].isnan().all() and numbers[1:].isfinite().all()
    frame = probe.to_frame()
    assert (frame["values"] == 0).tolist() == (frame["layer"] == "embed").tolist()
    assert set(frame["values"]) == {0, 26}
    assert len(probe.brief()[1]) == 6
    searched = workbench.fourier_probe(tiny("gpt2"), "letters", **asked)
    assert searched.chosen[0] == "" and searched.chosen[1]


@pytest.mark.parametrize(
    ("variable", "options", "says"),
    [
        ("letters", {"periods": (27.0,)}, "above the range of 26 letters"),
        ("letters", {"periods": (13.0, 1.5)}, "below two steps of 1"),
        ("a,b,c,d,e", {}, "5 values; a probe that holds some out in 5 parts needs 6"),
        ("letters", {"folds": 27}, "needs 27 or more"),
        ("letters", {"templates": ()}, "give a template"),
        ("letters", {"templates": ("no gap",)}, "once, where the value stands"),
        ("1,2,4,5,6,7", {}, "not evenly spaced"),
    ],
)
def test_what_cannot_be_is_a_sentence(tiny, variable, options, says):
    with pytest.raises(workbench.BadInput, match=says):
        workbench.fourier_probe(tiny("gpt2"), variable, **options)
