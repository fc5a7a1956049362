"""Interventions on planted massive activations, against transformers' own loss with the plant changed by hand."""

import pytest
import torch

import workbench
from workbench.functional import sink_mass

PROMPT = "abcabcaabb"


def with_state(model, layer, *places):
    def change(state):
        new = state.clone()
        for position, dimension, value in places:
            new[:, position, dimension] = value
        return new

    return workbench.editing(model, {model.stream("resid_post")[layer]: change})


def own_loss(model, prompt, *contexts):
    """The sum of transformers' own next-token losses."""
    ids = model.encode(prompt)["input_ids"]
    with torch.no_grad(), contexts[0]:
        return model.module(ids, labels=ids).loss.item() * (ids.shape[1] - 1)


def row(found, condition):
    return found.to_frame().query("condition == @condition")


def test_zero_and_mean_are_what_the_plant_would_be_without(tiny):
    model = tiny("gpt2")
    plant = (0, 5, 6000.0)
    with with_state(model, 0, plant):
        found = workbench.massive_interventions(model, PROMPT, draws=2, reference=["abc", "cab"])
        sites = model.attention_sites(None, "pattern")
        with torch.no_grad(), workbench.reading(model, sites) as values:
            model.module(**model.encode(PROMPT))
    assert (found.layer, found.places.tolist(), found.values.tolist()) == (0, [[0, 5]], [6000.0])
    assert found.means.tolist() == [6000.0] and found.calibration_texts == 2
    assert found.conditions == (
        "unaltered", "massive: zero", "massive: mean", "random: zero", "random: zero", "next largest: zero",
        "next largest: mean",
    )  # fmt: skip
    assert found.losses[0, 0].item() == pytest.approx(own_loss(model, PROMPT, with_state(model, 0, plant)), rel=1e-5)
    zeroed = own_loss(model, PROMPT, with_state(model, 0, (0, 5, 0.0)))
    assert found.losses[1, 0].item() == pytest.approx(zeroed, rel=1e-5)
    assert found.losses[2, 0] == found.losses[0, 0]  # its own value is its mean
    assert found.kl[2, 0] == 0 and found.kl[1, 0] > 0
    assert found.n_tokens.tolist() == [10] and found.n_heads == 2
    assert found.sinks[0, 0].item() == pytest.approx(sink_mass(values[sites[1]][0])[:, 0].mean().item(), rel=1e-5)
    assert found.loss[1].item() == pytest.approx(zeroed / 10, rel=1e-5)
    assert row(found, "massive: zero")["rise"].item() == pytest.approx((found.loss[1] - found.loss[0]).item())
    assert row(found, "unaltered")["perplexity"].item() == pytest.approx(found.loss[0].exp().item())


def test_the_next_largest_is_set_to_zero_and_to_its_mean(tiny):
    model = tiny("gpt2")
    plants = (0, 5, 6000.0), (3, 7, 90.0)
    with with_state(model, 0, *plants):
        found = workbench.massive_interventions(model, PROMPT, reference=["abcab", "cabca"])
        with torch.no_grad(), workbench.reading(model, ["blocks.0.resid_post"]) as values:
            rows = []
            for text in ("abcab", "cabca"):
                model.module(**model.encode(text))
                rows.append(values["blocks.0.resid_post"][0, 1:, 7])
    mean = torch.cat(rows).mean().item()  # at all later tokens: nothing there is massive
    for condition, value in (("next largest: zero", 0.0), ("next largest: mean", mean)):
        expected = own_loss(model, PROMPT, with_state(model, 0, plants[0], (3, 7, value)))
        at = found.conditions.index(condition)
        assert found.losses[at, 0].item() == pytest.approx(expected, rel=1e-5)


def test_later_massive_activations_get_the_mean_of_their_like(tiny):
    model = tiny("gpt2")
    with with_state(model, 0, (0, 5, 6000.0), (3, 5, -8000.0)):
        found = workbench.massive_interventions(model, PROMPT, reference=["abcab", "cabca", "aabba"])
    assert found.places.tolist() == [[0, 5], [3, 5]]
    assert found.means.tolist() == [6000.0, -8000.0]
    assert row(found, "massive: mean")["kl"].item() == 0


def test_nothing_massive_is_an_answer(tiny):
    model = tiny("gpt2")
    found = workbench.massive_interventions(model, PROMPT)
    assert found.layer is None and found.conditions == ("unaltered",) and len(found.places_frame()) == 0
    assert found.losses[0, 0].item() == pytest.approx(
        own_loss(model, PROMPT, workbench.reading(model, "embed")), rel=1e-5
    )
    assert "No activation of the prompt is massive" in found.brief()[0]
    assert workbench.massive_interventions(model, PROMPT, layer=1).layer is None


def test_the_largest_can_be_taken_anyway_and_of_more_texts(tiny):
    model = tiny("llama")
    found = workbench.massive_interventions(model, PROMPT, layer=0, top=2, texts=["cab", "bcaab"], draws=1)
    assert found.losses.shape == (6, 3) and found.counts.tolist() == [2, 2, 2] and found.n_tokens.tolist() == [10, 3, 5]
    alone = workbench.massive_interventions(model, "cab", layer=0, top=2, draws=1)
    torch.testing.assert_close(found.losses[[0, 1, 2, 4, 5], 1], alone.losses[[0, 1, 2, 4, 5], 0])
    assert found.loss[1].item() == pytest.approx(found.losses[1].sum().item() / 18)
    with torch.no_grad(), workbench.reading(model, "blocks.0.resid_post") as values:
        model.module(**model.encode(PROMPT))
    state = values["blocks.0.resid_post"][0]
    assert found.values.abs().sort().values.tolist() == state.abs().flatten().topk(2).values.sort().values.tolist()
    assert workbench.massive_interventions(model, PROMPT, top=2).layer in (0, 1)


def test_left_padding_changes_no_answer(tiny):
    model = tiny("llama")
    batch = dict(model.processor(PROMPT, return_tensors="pt", padding="max_length", max_length=14, padding_side="left"))
    options = {"layer": 0, "top": 3}
    alone, there = (workbench.massive_interventions(model, one, **options) for one in (PROMPT, batch))
    assert torch.equal(there.places, alone.places) and there.tokens == alone.tokens
    for name in ("losses", "kl", "sinks"):
        torch.testing.assert_close(getattr(there, name), getattr(alone, name), rtol=1e-4, atol=1e-6, equal_nan=True)
    assert not alone.losses.isnan().any() and len(set(alone.losses[:, 0].tolist())) > 3


def test_models_that_predict_no_next_token_have_answers_that_move(tiny):
    found = workbench.massive_interventions(tiny("bert"), PROMPT, top=2)
    frame = found.to_frame()
    assert frame["loss"].isna().all() and (frame["predicted"] == 0).all()
    assert frame["kl"][0] == 0 and frame["kl"][1] > 0
    assert found.figure().data
    last = workbench.massive_interventions(tiny("mamba"), PROMPT, layer=-1, top=1)
    assert last.to_frame()["sink"].isna().all() and not last.to_frame()["heads"].any()


def test_calibration_texts_of_one_token_are_not_enough_for_later_places(tiny):
    model = tiny("gpt2")
    one = torch.tensor([5])
    with with_state(model, 0, (3, 5, 6000.0)), pytest.raises(workbench.BadInput):
        workbench.massive_interventions(model, PROMPT, reference=[one])
