"""Massive activations that were planted are found, and nothing else; what texts change, and what stands where."""

import statistics

import pytest
import torch

import workbench

PROMPT = "abcabca"
TEXTS = ["abcab", "cabbage", "aabbccdd"]


def planting(model, layer, *places):
    """A context in which the state after a layer holds other numbers at (position, dimension)."""

    def plant(state):
        new = state.clone()
        for position, dimension, value in places:
            new[:, position, dimension] = value
        return new

    return workbench.editing(model, {model.stream("resid_post")[layer]: plant})


@pytest.mark.parametrize("family", ["gpt2", "bert", "mamba"])
def test_the_largest_numbers_are_those_of_the_state(family, tiny):
    model = tiny(family)
    found = workbench.massive_activations(model, PROMPT)
    sites = model.stream("resid_post")
    with torch.no_grad(), workbench.reading(model, sites) as values:
        model.module(**model.encode(PROMPT))
    for layer, site in enumerate(sites):
        rows = values[site][0].tolist()
        every = sorted(((abs(x), x, p, d) for p, row in enumerate(rows) for d, x in enumerate(row)), reverse=True)
        assert found.value[layer].tolist() == [x for _, x, _, _ in every[:3]]
        assert found.position[layer].tolist() == [p for *_, p, _ in every[:3]]
        assert found.dimension[layer].tolist() == [d for *_, d in every[:3]]
        assert found.median[layer].item() == statistics.median_low([size for size, *_ in every])
    assert not len(found.massive) and "No number of the stream is massive" in found.brief()[0]
    assert len(found.massive_frame()) == 0 and len(found.to_frame()) == 3 * len(sites)


def test_the_state_after_the_final_norm_is_left_out(tiny):
    model = tiny("gpt2")
    found = workbench.massive_activations(model, PROMPT)
    with torch.no_grad():
        output = model.module(**model.encode(PROMPT), output_hidden_states=True)
        normed = output.hidden_states[-1][0]
    state = output.hidden_states[1][0]
    assert found.value[0, 0].abs() == state.abs().max()
    assert found.value[-1, 0].abs() != normed.abs().max()


def test_exactly_what_was_planted_is_found(tiny):
    model = tiny("gpt2")
    with planting(model, 0, (2, 5, -6000.0), (0, 3, 99.9)):
        found = workbench.massive_activations(model, PROMPT)
    assert [place for place in found.massive.tolist() if place[0] == 0] == [[0, 2, 5]]
    assert found.massive_value[0] == -6000.0
    row = found.massive_frame().iloc[0]
    assert (row["layer"], row["pos"], row["token"], row["dimension"]) == (0, 2, "b", 5)
    assert row["ratio"] == pytest.approx(6000 / found.median[0].item())
    assert found.dimensions[0] == 5 and found.picture[0, 2, 0] == -6000.0
    assert found.picture_frame(0)["ratio"].max() == pytest.approx(row["ratio"])
    assert "in dimensions 5." in found.brief()[0]
    assert found.to_frame().query("massive")["rank"].iloc[0] == 1


def test_both_criteria_are_asked_for(tiny):
    model = tiny("gpt2")
    with planting(model, 1, (0, 3, 99.9)):
        assert not len(workbench.massive_activations(model, PROMPT, ratio=5).massive)
        assert workbench.massive_activations(model, PROMPT, ratio=5, absolute=90).massive.tolist() == [[1, 0, 3]]
    with planting(model, 1, (0, 3, 150.0)):
        assert not len(workbench.massive_activations(model, PROMPT).massive)


def test_texts_say_whether_it_depends_on_the_input(tiny):
    model = tiny("gpt2")
    with planting(model, 0, (0, 5, 6000.0)):
        found = workbench.massive_activations(model, PROMPT, texts=TEXTS)
        alone = [workbench.massive_activations(model, text) for text in TEXTS]
    frame = found.texts_frame().set_index(["layer", "dimension"])
    planted = frame.loc[(0, 5)]
    assert (planted["value"], planted["varies"], planted["at_first"]) == (6000.0, 0.0, 1.0)
    assert (planted["massive_inputs"], planted["inputs"]) == (3, 3)
    torch.testing.assert_close(found.text_value, torch.stack([one.value for one in alone]))
    torch.testing.assert_close(found.text_median, torch.stack([one.median for one in alone]))
    assert found.text_count[:, 0].tolist() == [1, 1, 1]
    other = frame.loc[(0, int(found.dimensions[-1]))]
    columns = [one.picture[0, :, one.dimensions.tolist().index(5)] for one in alone]
    assert all(column.abs().max() == 6000 for column in columns)
    assert other["varies"] > 0 and other["massive_inputs"] == 0
    curve = found.curve_frame().pivot(index="layer", columns="number", values="size")
    assert curve.loc[0, "largest"] == 6000.0
    assert curve.loc[1, "median"] == pytest.approx(found.text_median[:, 1].mean().item())


def test_left_padding_moves_no_position(tiny):
    model = tiny("llama")
    batch = dict(model.processor(PROMPT, return_tensors="pt", padding="max_length", max_length=12, padding_side="left"))
    alone, there = workbench.massive_activations(model, PROMPT), workbench.massive_activations(model, batch)
    assert there.tokens == alone.tokens and there.special == alone.special == (0,)
    torch.testing.assert_close(there.value, alone.value, rtol=1e-4, atol=1e-5)
    assert torch.equal(there.position, alone.position)
    with planting(model, 0, (4, 5, 6000.0)):  # the first position that is not padding
        assert workbench.massive_activations(model, batch).massive.tolist()[0] == [0, 0, 5]


def test_figures_and_layers(tiny):
    found = workbench.massive_activations(tiny("gpt2"), PROMPT)
    assert {trace.name for trace in found.figure().data} == {"largest", "second", "third", "median"}
    assert found.figure("picture", layer=-1).data[0].z
    with pytest.raises(workbench.BadInput, match="no layer 2"):
        found.figure("picture", layer=2)
    with pytest.raises(workbench.BadInput, match="not 'dims'"):
        found.figure("dims")
