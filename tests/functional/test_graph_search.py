"""Look-ahead on graphs drawn by hand, and merging against networkx."""

import networkx as nx
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import look_ahead, merged_sets, reach_by_merging


def arms(*lengths):
    """Edges of arms from vertex 0, and the last vertex of each."""
    edges, ends, new = [], [], 1
    for length in lengths:
        at = 0
        for _ in range(length):
            edges.append((at, new))
            at, new = new, new + 1
        ends.append(at)
    return edges, ends


def test_a_chain_needs_no_look_ahead():
    edges, ends = arms(4)
    assert look_ahead(edges, 0, ends[0]) == 0


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [2, 3])
def test_arms_of_one_length_need_as_many_steps(length, count):
    edges, ends = arms(*[length] * count)
    assert [look_ahead(edges, 0, end) for end in ends] == [length] * count


def test_an_arm_that_ends_is_ruled_out_one_step_later():
    edges, ends = arms(1, 4)
    assert look_ahead(edges, 0, ends[1]) == 2  # the short one is seen to go no further
    assert look_ahead(edges, 0, ends[0]) == 1  # the goal is met at once
    edges, ends = arms(2, 2, 5)
    assert look_ahead(edges, 0, ends[2]) == 3


def test_ways_that_lead_there_both_are_both_right():
    edges = [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert look_ahead(edges, 0, 3) == 0
    assert look_ahead([*edges, (0, 4), (4, 5), (5, 6)], 0, 3) == 2


def test_cycles_end():
    assert look_ahead([(0, 1), (1, 0), (0, 2), (2, 3)], 0, 3) == 2


@pytest.mark.parametrize(("start", "goal"), [(0, 0), (4, 0), (1, 5), (9, 0)])
def test_a_goal_that_cannot_be_reached_is_refused(start, goal):
    with pytest.raises(BadInput, match="No path leads"):
        look_ahead(arms(4)[0], start, goal)


def random_graph(seed, size=14):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(size, size, generator=generator) < 0.12).fill_diagonal_(False)


@pytest.mark.parametrize("seed", range(4))
def test_ideal_merging_holds_exactly_what_is_within_two_to_the_layers(seed):
    adjacent = random_graph(seed)
    far = dict(nx.all_pairs_shortest_path_length(nx.from_numpy_array(adjacent.numpy(), create_using=nx.DiGraph)))
    sets = reach_by_merging(adjacent, 3)
    for layers in range(4):
        expected = [[far[u].get(v, 99) <= 2**layers for v in range(14)] for u in range(14)]
        assert sets[layers].tolist() == expected


def test_graphs_in_a_batch_are_each_as_alone():
    graphs = torch.stack([random_graph(seed) for seed in range(3)])
    together = reach_by_merging(graphs, 2)
    for i, graph in enumerate(graphs):
        assert torch.equal(together[:, i], reach_by_merging(graph, 2))


def test_merging_takes_no_negative_number_of_layers():
    with pytest.raises(BadInput, match="0 or more"):
        reach_by_merging(random_graph(0), -1)


CHAIN = torch.eye(5, 6, dtype=torch.bool) | torch.eye(5, 6, dtype=torch.bool).roll(1, 1)  # position p: items p, p + 1


def test_operations_join_what_shares_an_item_and_only_that():
    operations = torch.tensor([[0, 0, 1], [0, 2, 4], [1, 0, 2], [1, 3, 0]])
    states, explained = merged_sets(CHAIN, operations, 2)
    assert explained.tolist() == [True, False, True, False]
    assert states[0].equal(CHAIN)
    assert states[1, 0].nonzero().flatten().tolist() == [0, 1, 2]
    assert states[1, 2].equal(CHAIN[2])
    assert states[2, 0].nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_operations_of_one_layer_happen_at_once():
    states, explained = merged_sets(CHAIN, torch.tensor([[0, 1, 2], [0, 0, 1]]), 1)
    assert explained.all()
    assert states[1, 0].nonzero().flatten().tolist() == [0, 1, 2]  # not 3, which position 1 takes up meanwhile


def test_only_items_by_which_an_operation_works_count_as_shared():
    by = torch.zeros(1, 6, dtype=torch.bool)
    operations = torch.tensor([[0, 0, 1]])
    assert not merged_sets(CHAIN, operations, 1, by=by)[1].any()
    assert merged_sets(CHAIN, operations, 1, by=by.index_fill(1, torch.tensor(1), True))[1].all()
    assert not merged_sets(CHAIN, operations, 1, by=by.index_fill(1, torch.tensor(2), True))[1].any()


def test_ideal_operations_hold_what_merging_says():
    """Every vertex that knows another joins its set: the two simulators agree."""
    adjacent = random_graph(7)
    ideal = reach_by_merging(adjacent, 2)
    operations = [[layer, u, v] for layer in range(2) for u, v in ideal[layer].nonzero().tolist()]
    states, _ = merged_sets(ideal[0], torch.tensor(operations), 2)
    assert torch.equal(states, ideal)
