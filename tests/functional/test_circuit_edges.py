"""Choosing edges against plain loops over names: the best, the best reachable, and what dead ends leave."""

import itertools
import math
import time

import networkx
import pytest
import torch

from workbench import BadInput, circuit_graph
from workbench.functional import first_edges, greedy_edges, greedy_order, kept_nodes, prune_edges, top_edges, top_order

SIZES = [
    {"n_layers": 2, "n_heads": 2},
    {"n_layers": 3, "n_heads": 2, "n_kv_heads": 1},
    {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "parallel": True},
    {"n_layers": 3, "n_heads": 2, "mlps": False},
    {"n_layers": 2, "n_heads": 2, "neurons": (0, 1), "n_neurons": 3},
    {"n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "positions": ("a", "b", "c")},
]
shapes = pytest.mark.parametrize("sizes", SIZES, ids=str)
causal_or_not = pytest.mark.parametrize(("sizes", "causal"), [*((s, True) for s in SIZES), (SIZES[-1], False)], ids=str)


def drawn(sizes, seed=0, levels=None):
    """A graph, and random scores of its edges; whole numbers below `levels`, of which many are equal."""
    graph = circuit_graph(**sizes)
    random = torch.Generator().manual_seed(seed)
    if levels:
        scores = torch.randint(-levels, levels, graph.shape, generator=random).float()
    else:
        scores = torch.randn(graph.shape, generator=random)
    return graph, graph.with_(scores=scores).scores


def carried(graph):
    """Where attention takes what is read to other positions."""
    return torch.tensor([name.endswith(("<k>", "<v>")) for name in graph.slot_names])


def ways(graph, causal):
    """What follows what, by name: (source, pos) -> (slot, pos) for edges, (slot, pos) -> (node, pos) within a node."""
    places = range(max(len(graph.positions), 1))
    edges = {}
    for name in graph.edge_names:
        ends, _, at = name.partition("@")
        source, slot = ends.split("->")
        edges[name] = ((source, int(at or 0)), (f"into {slot}", int(at or 0)))
    inside = []
    for slot, row in zip(graph.slot_names, graph.feeds.tolist(), strict=True):
        for node in itertools.compress(graph.nodes, row):
            for p, q in itertools.product(places, places):
                onward = slot.endswith(("<k>", "<v>")) and (not causal or q > p)
                if p == q or onward:
                    inside.append(((f"into {slot}", p), (node, q)))
    return edges, inside


def plain_greedy(graph, scores, absolute, causal):
    """The order by looking through all edges that lead into the circuit each time."""
    edges, inside = ways(graph, causal)
    value = {name: scores[graph.edge(name)].item() for name in edges}
    value = {name: abs(x) if absolute else x for name, x in value.items() if not math.isnan(x)}
    circuit = {("logits", p) for p in range(max(len(graph.positions), 1))}
    place = {name: i for i, name in enumerate(graph.edge_names)}
    order = []
    while True:
        slots = {slot for slot, node in inside if node in circuit}
        open_edges = [name for name in value if name not in order and edges[name][1] in slots]
        if not open_edges:
            return [graph.edge(name) for name in order]
        best = max(open_edges, key=lambda name: (value[name], -place[name]))
        order.append(best)
        circuit.add(edges[best][0])


def plain_prune(graph, kept, causal):
    """The kept edges on a way from some input to some logits, by networkx."""
    edges, inside = ways(graph, causal)
    net = networkx.DiGraph(inside)
    kept_ends = {name: edges[name] for name in graph.with_(kept=kept).kept_edges()}
    net.add_edges_from(kept_ends.values())
    begin = [node for node in net if node[0] == "input"]
    end = [node for node in net if node[0] == "logits"]
    live = set(begin).union(*(networkx.descendants(net, node) for node in begin))
    useful = set(end).union(*(networkx.ancestors(net, node) for node in end))
    left = torch.zeros_like(kept)
    for name, (source, slot) in kept_ends.items():
        left[graph.edge(name)] = source in live and slot in useful
    return left


@pytest.mark.parametrize("levels", [None, 3], ids=["no ties", "ties"])
@pytest.mark.parametrize("absolute", [True, False])
@causal_or_not
def test_greedy_is_the_plain_search(sizes, levels, absolute, causal):
    graph, scores = drawn(sizes, levels=levels)
    order = greedy_order(scores, graph.exists, graph.feeds, absolute=absolute, carried=carried(graph), causal=causal)
    places = torch.stack(torch.unravel_index(order, scores.shape), -1)
    assert [tuple(at) for at in places.tolist()] == plain_greedy(graph, scores, absolute, causal)
    assert len(order) == graph.n_edges


def test_greedy_by_hand():
    graph = circuit_graph(n_layers=2, n_heads=1, mlps=False)
    scores = torch.zeros(graph.shape)
    values = {"a1.h0->logits": 1.0, "a0.h0->a1.h0<q>": 9.0, "input->a0.h0<v>": 2.0, "a0.h0->logits": -0.5}
    for name, value in values.items():
        scores[graph.edge(name)] = value
    order = greedy_order(scores, graph.exists, graph.feeds)
    names = [graph.edge_name(*divmod(edge, len(graph.slot_names))) for edge in order.tolist()]
    assert names[:4] == ["a1.h0->logits", "a0.h0->a1.h0<q>", "input->a0.h0<v>", "a0.h0->logits"]
    best = graph.with_(kept=top_edges(scores, graph.exists, 2)).kept_edges()
    assert best == ("input->a0.h0<v>", "a0.h0->a1.h0<q>")  # which leads nowhere
    signed = top_edges(scores, graph.exists, graph.n_edges - 1, absolute=False)
    assert not signed[graph.edge("a0.h0->logits")]


@shapes
def test_every_greedy_circuit_reaches_the_answer(sizes):
    graph, scores = drawn(sizes, seed=1)
    order = greedy_order(scores, graph.exists, graph.feeds, carried=carried(graph))
    _, inside = ways(graph, causal=True)
    for n in (1, 3, len(order) // 2):
        kept = first_edges(order, n, graph.shape)
        assert kept.sum() == n
        net = networkx.DiGraph(inside)
        ends = [ways(graph, True)[0][name] for name in graph.with_(kept=kept).kept_edges()]
        net.add_edges_from(ends)
        useful = {node for end in net if end[0] == "logits" for node in networkx.ancestors(net, end)}
        assert all(slot in useful for _, slot in ends)
        assert torch.equal(greedy_edges(scores, graph.exists, graph.feeds, n, carried=carried(graph)), kept)


@shapes
def test_the_best_edges_are_the_largest(sizes):
    graph, scores = drawn(sizes, levels=4)
    flat = scores.abs()[graph.exists.expand(graph.shape)]
    for n in (0, 1, 5, graph.n_edges, graph.n_edges + 7):
        kept = top_edges(scores, graph.exists, n)
        assert kept.sum() == min(n, graph.n_edges)
        assert not (kept & ~graph.exists).any()
        found = scores.abs()[kept].sort(descending=True).values
        assert torch.equal(found, flat.sort(descending=True).values[:n])


def test_equal_scores_go_in_the_order_of_the_edges_and_circuits_are_nested():
    graph = circuit_graph(n_layers=2, n_heads=2)
    kept = [top_edges(torch.ones(graph.shape), graph.exists, n) for n in range(graph.n_edges)]
    for n, (smaller, larger) in enumerate(itertools.pairwise(kept)):
        assert not (smaller & ~larger).any()
        assert graph.with_(kept=smaller).kept_edges() == graph.edge_names[:n]


def test_edges_without_a_score_are_never_chosen():
    graph, scores = drawn(SIZES[0])
    scores[graph.edge("input->m0")] = math.nan
    scores[graph.source_index("a1.h1")] = math.nan
    for order in (top_order(scores, graph.exists), greedy_order(scores, graph.exists, graph.feeds)):
        assert not scores.flatten()[order].isnan().any()
    assert len(top_order(scores, graph.exists)) == graph.n_edges - 3  # a1.h1 feeds m1 and the logits
    alone = len(greedy_order(scores, graph.exists, graph.feeds))
    into = graph.exists[:, [graph.slot_index(f"a1.h1<{letter}>") for letter in "qkv"]]
    assert alone == graph.n_edges - 3 - into.sum()  # what only feeds a1.h1 reaches nothing


@causal_or_not
def test_pruning_leaves_what_lies_on_a_way(sizes, causal):
    graph = circuit_graph(**sizes)
    left = 0
    for seed, share in itertools.product(range(6), (0.1, 0.3, 0.6)):
        random = torch.Generator().manual_seed(seed)
        kept = (torch.rand(graph.shape, generator=random) < share) & graph.exists
        pruned = prune_edges(kept, graph.feeds, carried=carried(graph), causal=causal)
        assert torch.equal(pruned, plain_prune(graph, kept, causal))
        assert torch.equal(prune_edges(pruned, graph.feeds, carried=carried(graph), causal=causal), pruned)
        left += int(pruned.sum())
    assert left > 20


def test_a_head_of_which_only_the_queries_are_fed_is_alive():
    graph = circuit_graph(n_layers=2, n_heads=1)

    def pruned(*names):
        kept = torch.zeros(graph.shape, dtype=torch.bool)
        for name in names:
            kept[graph.edge(name)] = True
        return set(graph.with_(kept=prune_edges(kept, graph.feeds)).kept_edges())

    chain = {"input->a0.h0<q>", "a0.h0->a1.h0<q>", "a1.h0->logits"}
    assert pruned(*chain) == chain
    assert pruned("a0.h0->a1.h0<q>", "a1.h0->logits") == set()  # nothing comes from the input
    assert pruned("input->a0.h0<q>", "a0.h0->a1.h0<q>") == set()  # nothing reaches the answer
    assert pruned(*chain, "input->m0", "m1->logits") == chain  # two loose ends
    assert pruned("input->logits") == {"input->logits"}
    whole = prune_edges(graph.exists, graph.feeds)
    assert torch.equal(whole, graph.exists)


def test_positions_are_crossed_by_keys_and_values_only():
    graph = circuit_graph(n_layers=1, n_heads=1, positions=("a", "b"))

    def survives(*names, causal=True):
        kept = torch.zeros(graph.shape, dtype=torch.bool)
        for name in names:
            kept[graph.edge(name)] = True
        return bool(prune_edges(kept, graph.feeds, carried=carried(graph), causal=causal).any())

    assert survives("input->a0.h0<v>@0", "a0.h0->logits@1")
    assert not survives("input->a0.h0<q>@0", "a0.h0->logits@1")
    assert not survives("input->a0.h0<v>@1", "a0.h0->logits@0")
    assert survives("input->a0.h0<v>@1", "a0.h0->logits@0", causal=False)
    assert not survives("input->m0@0", "m0->logits@1")


def test_nodes_of_a_circuit():
    graph = circuit_graph(n_layers=2, n_heads=2, n_kv_heads=1)
    kept = torch.zeros(graph.shape, dtype=torch.bool)
    for name in ("input->a0.kv0<v>", "a0.h1->a1.h0<q>", "a1.h0->logits", "input->m1"):
        kept[graph.edge(name)] = True
    found = kept_nodes(torch.stack([kept, torch.zeros_like(kept)]), graph.feeds)
    names = [name for name, yes in zip(graph.nodes, found[0].tolist(), strict=True) if yes]
    assert names == ["input", "a0.h1", "a1.h0", "m1", "logits"]
    assert not found[1].any()


def test_the_default_models_edges_take_well_under_a_second():
    graph, scores = drawn({"n_layers": 30, "n_heads": 9})
    start = time.process_time()
    kept = greedy_edges(scores, graph.exists, graph.feeds, 1232)
    prune_edges(kept, graph.feeds)
    assert kept.sum() == 1232
    assert time.process_time() - start < 2  # 0.3 on one core that is not busy otherwise


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision(dtype):
    graph, scores = drawn(SIZES[1], levels=3)
    assert torch.equal(top_order(scores.to(dtype), graph.exists), top_order(scores, graph.exists))


def test_what_cannot_be_chosen_from():
    graph, scores = drawn(SIZES[0])
    with pytest.raises(BadInput, match="source, slot"):
        top_edges(scores[None, None], graph.exists, 3)
    with pytest.raises(BadInput, match="0 or more edges"):
        top_edges(scores, graph.exists, -1)
    with pytest.raises(BadInput, match="whole number"):
        top_edges(scores, graph.exists, True)
