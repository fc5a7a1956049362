"""Circuit graphs: counts as published and by brute force, names, and what is refused."""

import json
import math

import pytest
import torch

import workbench
from workbench import BadInput, CircuitGraph, MissingCapability, UnknownName, circuit_graph

SIZES = [
    {"n_layers": 1, "n_heads": 1},
    {"n_layers": 3, "n_heads": 4},
    {"n_layers": 3, "n_heads": 4, "n_kv_heads": 2},
    {"n_layers": 2, "n_heads": 4, "n_kv_heads": 4},
    {"n_layers": 3, "n_heads": 2, "parallel": True},
    {"n_layers": 3, "n_heads": 2, "mlps": False},
    {"n_layers": 3, "n_heads": 2, "n_kv_heads": 1, "parallel": True},
    {"n_layers": 2, "n_heads": 2, "neurons": (1,), "n_neurons": 3},
]


def counted(n_layers, n_heads, n_kv_heads=None, mlps=True, parallel=False, neurons=(), n_neurons=0):
    """Every edge, named, by going through the blocks in order as a model computes them."""
    shared = n_kv_heads is not None and n_kv_heads < n_heads
    written, edges = ["input"], []
    for i in range(n_layers):
        for h in range(n_heads):
            edges += [(u, f"a{i}.h{h}<q>") for u in written]
            if not shared:
                edges += [(u, f"a{i}.h{h}<{letter}>") for letter in "kv" for u in written]
        if shared:
            edges += [(u, f"a{i}.kv{g}<{letter}>") for letter in "kv" for g in range(n_kv_heads) for u in written]
        heads = [f"a{i}.h{h}" for h in range(n_heads)]
        if mlps:
            edges += [(u, f"m{i}") for u in (written if parallel else written + heads)]
        split = [f"m{i}.n{n}" for n in range(n_neurons)] if i in neurons else [f"m{i}"]
        written += heads + (split if mlps else [])
    return written, edges + [(u, "logits") for u in written]


@pytest.mark.parametrize(
    ("sizes", "edges"),
    [
        ({"n_layers": 12, "n_heads": 12}, 32_491),
        ({"n_layers": 30, "n_heads": 9}, 123_211),
        ({"n_layers": 30, "n_heads": 9, "n_kv_heads": 3}, 70_651),
        ({"n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "slots": "query-head"}, 123_211),
        ({"n_layers": 2, "n_heads": 4, "mlps": False}, 81),
    ],
)
def test_counts_are_the_published_ones(sizes, edges):
    assert circuit_graph(**sizes).n_edges == edges


def test_the_published_nodes():
    graph = circuit_graph(n_layers=12, n_heads=12)
    assert len(graph.sources) == 157
    assert graph.nodes == (*graph.sources, "logits")


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_edge_is_one_of_a_count_by_hand(sizes):
    graph = circuit_graph(**sizes)
    sources, edges = counted(**sizes)
    assert list(graph.sources) == sources
    assert sorted(graph.edge_names) == sorted(f"{u}->{v}" for u, v in edges)
    assert graph.n_edges == len(edges)
    assert graph.exists.sum() == len(edges)


def test_layers_follow_from_the_names():
    graph = circuit_graph(n_layers=2, n_heads=4, n_kv_heads=2, neurons=(1,), n_neurons=2)
    layers = {"input": -1, "logits": 2}
    for names, found in ((graph.sources, graph.source_layer), (graph.slot_names, graph.slot_layer)):
        assert found.tolist() == [layers[name] if name in layers else int(name[1]) for name in names]
    assert graph.source_weight.tolist() == [0.5 if ".n" in name else 1 for name in graph.sources]


def test_slots_feed_their_nodes():
    graph = circuit_graph(n_layers=2, n_heads=4, n_kv_heads=2, neurons=(1,), n_neurons=2)

    def fed(slot):
        row = graph.feeds[graph.slot_index(slot)]
        return [name for name, yes in zip(graph.nodes, row.tolist(), strict=True) if yes]

    assert fed("a1.h2<q>") == ["a1.h2"]
    assert fed("a1.kv1<k>") == fed("a1.kv1<v>") == ["a1.h2", "a1.h3"]
    assert fed("m0") == ["m0"]
    assert fed("m1") == ["m1.n0", "m1.n1"]
    assert fed("logits") == ["logits"]
    assert [graph.nodes[i] for i in graph.slot_node][graph.slot_index("a1.kv1<v>")] == "a1.h2"
    own = circuit_graph(n_layers=2, n_heads=4)
    assert own.feeds.sum(-1).tolist() == [1] * len(own.slot_names)
    owners = [name.partition("<")[0] for name in own.slot_names]
    assert [own.nodes[i] for i in own.slot_node] == owners


def test_edges_have_names_both_ways():
    graph = circuit_graph(n_layers=2, n_heads=2, n_kv_heads=1)
    for name, index in zip(graph.edge_names, graph.edges.tolist(), strict=True):
        assert graph.edge(name) == tuple(index)
        assert graph.edge_name(*index) == name
    assert graph.edge("a0.h1->a1.kv0<v>") == (graph.source_index("a0.h1"), graph.slot_index("a1.kv0<v>"))


def test_positions_are_told_apart():
    graph = circuit_graph(n_layers=1, n_heads=1, positions=("The", " cat"))
    plain = circuit_graph(n_layers=1, n_heads=1)
    assert graph.n_edges == 2 * plain.n_edges == len(graph.edge_names)
    assert graph.edge("a0.h0->m0@1") == (1, *plain.edge("a0.h0->m0"))
    for name, index in zip(graph.edge_names, graph.edges.tolist(), strict=True):
        assert graph.edge(name) == tuple(index)
    kept = torch.zeros(graph.shape, dtype=torch.bool)
    kept[graph.edge("input->logits@1")] = True
    assert graph.with_(kept=kept).kept_edges() == ("input->logits@1",)
    frame = graph.with_(kept=kept).to_frame()
    assert frame[["source", "slot", "pos"]].to_numpy().tolist() == [["input", "logits", 1]]
    for wrong in ("a0.h0->m0", "a0.h0->m0@2", "a0.h0->m0@-1", "a0.h0->m0@x"):
        with pytest.raises(BadInput):
            graph.edge(wrong)


def test_scores_are_blank_where_there_is_no_edge():
    graph = circuit_graph(n_layers=1, n_heads=2)
    scored = graph.with_(scores=torch.ones(graph.shape))
    assert torch.equal(scored.scores.isnan(), ~graph.exists)
    assert scored.n_unscored == 0
    assert graph.n_unscored == graph.n_edges
    half = torch.ones(graph.shape)
    half[graph.edge("input->m0")] = math.nan
    assert graph.with_(scores=half).n_unscored == 1
    frame = scored.to_frame()
    assert len(frame) == graph.n_edges
    assert (frame["score"] == 1).all()


def test_kept_edges_are_counted_and_named():
    graph = circuit_graph(n_layers=1, n_heads=2)
    kept = torch.zeros(graph.shape, dtype=torch.bool)
    kept[graph.edge("input->a0.h1<v>")] = kept[graph.edge("a0.h1->logits")] = True
    some = graph.with_(kept=kept)
    assert some.kept_edges() == ("input->a0.h1<v>", "a0.h1->logits")
    assert some.n_kept == 2
    assert repr(some) == "<CircuitGraph: 5 nodes, 13 edges, 2 kept>"
    assert len(some.to_frame()) == 2
    assert len(some.to_frame(all_edges=True)) == 13
    assert some.to_frame(all_edges=True)["kept"].sum() == 2


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda g: g.edge("m0->a0.h0<q>"), "m0 writes in layer 0, and a0.h0<q> reads in layer 0 side by side"),
        (lambda g: g.edge("m1->a0.h0<q>"), "m1 writes in layer 1, and a0.h0<q> reads in layer 0"),
        (lambda g: g.edge("logits->m0"), "they are no source"),
        (lambda g: g.edge("m0 to m1"), "written like a0.h1->m1"),
        (lambda g: g.edge("m0->m1@0"), "written like a0.h1->m1"),
        (lambda g: g.edge("m0->a1.h7<q>"), "no slot 'a1.h7<q>'. It has a0.h0<q>"),
        (lambda g: g.node_index("a7.h0"), "no node 'a7.h0'. It has input, a0.h0"),
        (
            lambda g: g.with_(scores=torch.zeros(3, 3)),
            r"axes \(source, slot\) = \(7, 15\); these have the shape \(3, 3\)",
        ),
        (lambda g: g.with_(scores=torch.full(g.shape, math.inf)), "infinite"),
        (lambda g: g.with_(kept=torch.ones(g.shape, dtype=torch.bool)), "does not have"),
        (lambda g: g.with_(kept=torch.zeros(g.shape)), "true or false"),
        (lambda g: g.with_(labels={"a9.h9": "far"}), "no node 'a9.h9'"),
        (lambda g: g.with_(groups={"movers": ("a9.h9",)}), "no node 'a9.h9'"),
        (lambda g: g.with_(pinned=("m9",)), "no node 'm9'"),
        (lambda g: circuit_graph(), "Say of what"),
        (lambda g: circuit_graph(n_layers=0, n_heads=1), "n_layers is a whole number from 1, not 0"),
        (lambda g: circuit_graph(n_layers=True, n_heads=1), "n_layers is a whole number from 1, not True"),
        (lambda g: circuit_graph(n_layers=1, n_heads=9, n_kv_heads=2), "9 heads cannot share 2"),
        (lambda g: circuit_graph(n_layers=1, n_heads=1, neurons=(1,), n_neurons=3), "layers from 0 to 0"),
        (lambda g: circuit_graph(n_layers=1, n_heads=1, neurons=(0,)), "how many neurons"),
        (lambda g: circuit_graph(n_layers=1, n_heads=1, neurons=(0,), n_neurons=3, mlps=False), "no neurons to split"),
    ],
)
def test_what_is_not_there_is_a_sentence(call, sentence):
    with pytest.raises(BadInput, match=sentence):
        call(circuit_graph(n_layers=2, n_heads=2))


def test_other_names_are_sentences():
    with pytest.raises(UnknownName, match="Did you mean 'query-head'"):
        circuit_graph(n_layers=1, n_heads=1, slots="query-heads")
    with pytest.raises(UnknownName, match="Did you mean 'scores'"):
        circuit_graph(n_layers=1, n_heads=1).with_(score=1)


def test_of_a_model(tiny):
    for family, slots in (("gpt2", "a1.h1<k>"), ("llama", "a1.kv0<k>"), ("neox", "a1.h0<v>"), ("bert", "a0.h0<q>")):
        model = tiny(family)
        graph = circuit_graph(model)
        assert graph.model == model.name
        assert slots in graph.slot_names
        graph.check_for(model)
        _, edges = counted(model.n_blocks, model.n_heads, model.n_kv_heads, parallel=family == "neox", mlps=True)
        assert sorted(graph.edge_names) == sorted(f"{u}->{v}" for u, v in edges)
    attention_only = circuit_graph(tiny("micro"))
    assert attention_only.n_edges == 81
    split = circuit_graph(tiny("gpt2"), neurons=(1,))
    assert split.n_neurons == 64
    assert split.sources[-1] == "m1.n63"
    with pytest.raises(BadInput, match="or its sizes, not both"):
        circuit_graph(tiny("gpt2"), n_layers=2)
    with pytest.raises(MissingCapability, match="2 stacks"):
        circuit_graph(tiny("t5"))
    with pytest.raises(MissingCapability, match="no attention"):
        circuit_graph(tiny("mamba"))


def test_a_graph_of_another_model_is_refused_with_both_sizes(tiny):
    graph = circuit_graph(tiny("llama"))
    with pytest.raises(BadInput, match="of tiny:llama does not fit tiny:gpt2: it has 4 heads, not 2"):
        graph.check_for(tiny("gpt2"))
    with pytest.raises(BadInput, match="the MLP behind attention, and the model has attention and MLP side by side"):
        circuit_graph(tiny("gpt2")).check_for(tiny("neox"))
    with pytest.raises(BadInput, match="it has no MLPs, and the model has MLPs"):
        circuit_graph(n_layers=2, n_heads=2, mlps=False).check_for(tiny("gpt2"))


def test_a_graph_of_equal_counts_fits_only_where_width_and_norms_do(tiny):
    graph = circuit_graph(tiny("gpt2"))
    again = CircuitGraph.from_json(graph.to_json())
    assert (again.order, again.d_model) == ("pre", tiny("gpt2").d_model)
    for one in (graph, again):
        one.with_(model="another name").check_for(tiny("gpt2"))
        with pytest.raises(BadInput, match="its blocks have their norms in the order 'pre', and the model's 'post'"):
            one.check_for(tiny("roberta"))
        with pytest.raises(BadInput, match="it has 24 dimensions, not"):
            one.with_(d_model=24).check_for(tiny("gpt2"))
    before = json.loads(graph.to_json())
    del before["shape"]["order"]
    CircuitGraph.from_json(json.dumps(before)).check_for(tiny("gpt2"))
    with pytest.raises(BadInput, match="order is 'pre', 'post' or 'parallel'"):
        graph.with_(order="side")


def test_graphs_are_public_names():
    assert workbench.CircuitGraph is type(circuit_graph(n_layers=1, n_heads=1))
