"""Baselines that have seen no task: products of weights multiplied out one by one, and draws that know nothing."""

import pytest
import torch

from tests.circuits.planted import copy_head
from workbench.circuits.baselines import random_scores, weight_scores
from workbench.circuits.graph import circuit_graph
from workbench.circuits.split import split
from workbench.testing import tiny_model


def centred(weight):
    return weight - weight.mean(1, keepdim=True)


def size(write, norm, read):
    """Frobenius norm of write (., d_model), through a LayerNorm's weight, times read (d_model, .), multiplied out."""
    return (centred(write) @ torch.diag(norm) @ read).norm().item()


def test_gpt2_by_hand():
    module = tiny_model("gpt2").module
    wiring = split(tiny_model("gpt2"))
    scores, graph = weight_scores(wiring), wiring.graph
    first, second = module.transformer.h
    with torch.no_grad():
        w_q, w_k, w_v = second.attn.c_attn.weight.chunk(3, 1)
        embed = module.transformer.wte.weight / 98**0.5
        w_o = first.attn.c_proj.weight
        expected = {
            "a0.h1->a1.h0<q>": size(w_o[8:], second.ln_1.weight, w_q[:, :8]),
            "a0.h0->a1.h1<k>": size(w_o[:8], second.ln_1.weight, w_k[:, 8:]),
            "m0->a1.h1<v>": size(first.mlp.c_proj.weight, second.ln_1.weight, w_v[:, 8:]),
            "a0.h1->m0": size(w_o[8:], first.ln_2.weight, first.mlp.c_fc.weight),
            "input->m1": size(embed, second.ln_2.weight, second.mlp.c_fc.weight),
            "m1->logits": size(second.mlp.c_proj.weight, module.transformer.ln_f.weight, module.lm_head.weight.T),
        }
    for name, score in expected.items():
        assert scores[graph.edge(name)].item() == pytest.approx(score, rel=1e-4), name
    assert torch.equal(scores.isnan(), ~graph.exists)


def test_gated_and_grouped_by_hand():
    module = tiny_model("llama").module
    scores = {slots: weight_scores(split(tiny_model("llama"), slots=slots)) for slots in ("kv-head", "query-head")}
    graphs = {slots: circuit_graph(tiny_model("llama"), slots=slots) for slots in scores}
    first, second = module.model.layers
    with torch.no_grad():
        w_o = first.self_attn.o_proj.weight.T[8:12]
        norm = torch.diag(second.input_layernorm.weight)
        key = (w_o @ norm @ second.self_attn.k_proj.weight.T[:, 4:]).norm().item()
        both = torch.cat([second.mlp.gate_proj.weight.T, second.mlp.up_proj.weight.T], 1)
        into_mlp = (w_o @ torch.diag(second.post_attention_layernorm.weight) @ both).norm().item()
    assert scores["kv-head"][graphs["kv-head"].edge("a0.h2->a1.kv1<k>")].item() == pytest.approx(key, rel=1e-4)
    for head in (2, 3):
        edge = graphs["query-head"].edge(f"a0.h2->a1.h{head}<k>")
        assert scores["query-head"][edge].item() == pytest.approx(key, rel=1e-4)
    assert scores["kv-head"][graphs["kv-head"].edge("a0.h2->m1")].item() == pytest.approx(into_mlp, rel=1e-4)


def test_after_norms_that_follow_by_hand():
    module = tiny_model("bert").module
    wiring = split(tiny_model("bert"))
    first, second = module.bert.encoder.layer
    with torch.no_grad():
        w_o, norm = first.attention.output.dense.weight.T[:8], first.attention.output.LayerNorm.weight
        read = second.attention.self.query.weight.T[:, 8:]
        expected = size(w_o, norm, read)
    assert weight_scores(wiring)[wiring.graph.edge("a0.h0->a1.h1<q>")].item() == pytest.approx(expected, rel=1e-4)


def test_neurons_and_little_memory():
    whole, parts = (split(tiny_model("gpt2"), neurons=neurons) for neurons in ((), (0,)))
    scores, by_neuron = weight_scores(whole), weight_scores(parts)
    slot = whole.graph.slot_index("a1.h0<q>")
    neurons = [i for i, name in enumerate(parts.graph.sources) if name.startswith("m0.n")]
    together = by_neuron[neurons, slot].square().sum().sqrt().item()
    assert together == pytest.approx(scores[whole.graph.source_index("m0"), slot].item(), rel=1e-4)
    torch.testing.assert_close(weight_scores(whole, numbers=1), scores, equal_nan=True)


def test_dead_heads_weigh_nothing():
    planted = copy_head()
    wiring = split(planted.model)
    scores = weight_scores(wiring)
    assert scores[wiring.graph.source_index("a0.h2"), -1] == 0
    assert scores[wiring.graph.source_index("a0.h0"), -1] > 0.1


@pytest.mark.parametrize("family", ["vit", "albert", "neox", "micro"])
def test_every_edge_of_other_families_has_a_weight(family):
    wiring = split(tiny_model(family))
    scores = weight_scores(wiring)
    assert torch.equal(scores > 0, wiring.graph.exists)


def test_draws_are_seeded_even_and_different():
    graph = circuit_graph(n_layers=12, n_heads=12)
    first, again, second = (random_scores(graph, seed) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, equal_nan=True)
    x, y = first[graph.exists], second[graph.exists]
    assert torch.equal(first.isnan(), ~graph.exists)
    assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 0.02
    assert x.mean().item() == pytest.approx(0.5, abs=0.01)
