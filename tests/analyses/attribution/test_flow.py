"""Attention flow of models against networkx on transformers' own attention; its options, each against what it means."""

import networkx as nx
import pytest
import torch

import workbench
from tests.analyses.attribution.by_hand import DECODERS, ENCODERS, TWO_SIDED, attentions, graphs, output_of
from workbench.testing import tiny_model


def expected_flows(model, prompt, residual=0.5):
    """(step, explained, source), pair by pair."""
    maps = [heads.mean(0) for heads in graphs(attentions(output_of(model, model.encode(prompt))))]
    n = len(maps[0])
    graph, found = nx.DiGraph(), torch.zeros(len(maps), n, n, dtype=torch.float64)
    graph.add_nodes_from((level, node) for level in range(len(maps) + 1) for node in range(n))
    for step, links in enumerate(maps):
        for i, row in enumerate(links.tolist()):
            for j, weight in enumerate(row):
                if capacity := (1 - residual) * weight + residual * (i == j):
                    graph.add_edge((step + 1, i), (step, j), capacity=capacity)
        for i in range(n):
            for j in range(n):
                flow = nx.algorithms.flow.edmonds_karp
                found[step, i, j] = nx.maximum_flow_value(graph, (step + 1, i), (0, j), flow_func=flow)
    return found


def close(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", [*DECODERS[:2], ENCODERS[0], TWO_SIDED[0]])
def test_is_the_maximum_flow_through_transformers_attention(family, double):
    model, prompt = double(family)
    expected = expected_flows(model, prompt)
    found = workbench.attention_flow(model, prompt, everywhere=True)
    close(found.maps, expected)
    alone = workbench.attention_flow(model, prompt)
    assert alone.maps is None and alone.steps == found.steps and len(found.steps) == len(expected)
    close(alone.scores, expected[:, alone.row])
    close(found.scores, expected[:, alone.row])


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS, *TWO_SIDED])
def test_is_never_below_rollout_and_the_same_after_one_layer(family, double):
    model, prompt = double(family)
    flow, rollout = workbench.attention_flow(model, prompt), workbench.attention_rollout(model, prompt)
    assert flow.steps == rollout.steps and flow.row == rollout.row
    assert (flow.scores >= rollout.scores - 1e-6).all() and (flow.scores <= 1 + 1e-6).all()
    torch.testing.assert_close(flow.scores[0], rollout.scores[0])


def test_residual_and_position(double):
    model, prompt = double("gpt2")
    found = workbench.attention_flow(model, prompt, residual=0.2, position=2)
    close(found.scores, expected_flows(model, prompt, 0.2)[:, 2])
    assert found.row == 2 and found.scores[:, 3:].eq(0).all()


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_chosen_layers_are_rows_of_all(family, double):
    model, prompt = double(family)
    whole = workbench.attention_flow(model, prompt)
    found = workbench.attention_flow(model, prompt, layers=(-1, 0))
    last, first = (
        (len(whole.steps) - 1, 0) if family == "gpt2" else (len(whole.steps) - 1, whole.steps.index("decoder 0 cross"))
    )
    assert found.steps == (whole.steps[last], whole.steps[first])
    assert torch.equal(found.scores, whole.scores[[last, first]])


def test_shares_are_parts_of_the_sum(double):
    model, prompt = double("bert")
    whole = workbench.attention_flow(model, prompt, everywhere=True)
    found = workbench.attention_flow(model, prompt, everywhere=True, shares=True)
    torch.testing.assert_close(found.maps, whole.maps / whole.maps.sum(-1, keepdim=True))
    torch.testing.assert_close(found.scores, found.maps[:, found.row])


@pytest.mark.parametrize(("family", "everywhere"), [("bart", False), ("bart", True), ("bert", False)])
def test_saturated_tokens_are_counted(family, everywhere, double):
    model, prompt = double(family)
    found = workbench.attention_flow(model, prompt, everywhere=everywhere)
    full = sum(score > 0.9999 for score in found.scores[-1].tolist())
    assert (full > 1) == (family == "bart") == ("cannot tell them apart" in found.note)
    assert (f"Here {full} of {len(found.tokens)} tokens" in found.note) == (full > 1)
    assert "saturates" in found.note


def test_one_token():
    found = workbench.attention_flow(tiny_model("gpt2"), torch.tensor([3]))
    assert found.scores.eq(1).all()
