"""Rollout against loops over transformers' own attention; its options, each against what it means."""

import itertools

import pytest
import torch

import workbench
from tests.analyses.attribution.by_hand import DECODERS, ENCODERS, TWO_SIDED, attentions, graphs, output_of
from workbench.testing import tiny_model


def maps_of(model, prompt):
    return [links.mean(0) for links in graphs(attentions(output_of(model, model.encode(prompt))))]


def mixed(links, residual=0.5):
    """Cell by cell."""
    found = torch.zeros_like(links)
    for i, j in itertools.product(range(len(links)), repeat=2):
        found[i, j] = (1 - residual) * links[i, j] + residual * (i == j)
    return found


def chained(maps):
    """What each step leaves in each node, from the ground up."""
    state, every = torch.eye(len(maps[0]), dtype=torch.float64), []
    for links in maps:
        state = torch.stack([torch.stack([w * state[j] for j, w in enumerate(row)]).sum(0) for row in links])
        every.append(state)
    return torch.stack(every)


def close(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS, *TWO_SIDED])
def test_is_a_chain_of_transformers_attention(family, double):
    model, prompt = double(family)
    found = workbench.attention_rollout(model, prompt)
    expected = chained([mixed(links) for links in maps_of(model, prompt)])
    close(found.maps, expected)
    close(found.scores, expected[:, found.row])
    close(found.scores.sum(-1), torch.ones(len(expected), dtype=torch.float64))


@pytest.mark.parametrize("residual", [0.0, 0.2, 1.0])
def test_residual(residual, double):
    model, prompt = double("gpt2")
    found = workbench.attention_rollout(model, prompt, residual=residual)
    close(found.maps, chained([mixed(links, residual) for links in maps_of(model, prompt)]))


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_layers_below_the_start_are_left_out(family, double):
    model, prompt = double(family)
    whole = workbench.attention_rollout(model, prompt)
    found = workbench.attention_rollout(model, prompt, start_layer=1)
    close(found.maps, chained([mixed(links) for links in maps_of(model, prompt)[1:]]))
    assert found.steps == whole.steps[1:]
    with pytest.raises(workbench.BadInput, match="to start from"):
        workbench.attention_rollout(model, prompt, start_layer=len(whole.steps))


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_single_heads_stand_over_all_heads_below(layer, double):
    model, prompt = double("gpt2")
    heads = graphs(attentions(output_of(model, model.encode(prompt))))
    number = layer % len(heads)
    found = workbench.attention_rollout(model, prompt, heads_of=layer, residual=0.3)
    assert found.steps == tuple(f"{number}.{head}" for head in range(len(heads[0])))
    for head in range(len(heads[0])):
        below = [mixed(links.mean(0), 0.3) for links in heads[:number]]
        close(found.maps[head], chained([*below, mixed(heads[number][head], 0.3)])[-1])


def test_single_heads_from_a_later_start(double):
    model, prompt = double("gpt2")
    first, second = graphs(attentions(output_of(model, model.encode(prompt))))[:2]
    found = workbench.attention_rollout(model, prompt, heads_of=1, start_layer=1)
    close(found.maps[0], mixed(second[0]))
    with pytest.raises(workbench.BadInput, match="starts at layer 1"):
        workbench.attention_rollout(model, prompt, heads_of=0, start_layer=1)
    assert first.shape == second.shape


def test_single_heads_are_not_offered_for_two_stacks():
    with pytest.raises(workbench.BadInput, match="models with one stack"):
        workbench.attention_rollout(tiny_model("t5"), "abc => a", heads_of=0)


def test_the_first_token_can_be_left_out(double):
    model, prompt = double("gpt2")
    whole = workbench.attention_rollout(model, prompt).scores
    found = workbench.attention_rollout(model, prompt, drop_first=True)
    assert found.scores[:, 0].eq(0).all()
    for row, kept in zip(found.scores.tolist(), whole[:, 1:].tolist(), strict=True):
        assert row[1:] == pytest.approx([share / sum(kept) for share in kept], abs=1e-6)
    assert workbench.attention_rollout(model, prompt, drop_first=True, position=0).scores.eq(0).all()
