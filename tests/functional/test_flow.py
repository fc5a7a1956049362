"""Attention flow against networkx, scipy and closed forms; the flow on edges against what makes it a flow."""

import itertools
import subprocess
import sys
import threading

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import maximum_flow

from workbench import progress
from workbench.errors import BadInput, Stopped
from workbench.functional import attention_flow, attention_rollout, cumulative_flow, flow_edges, flow_kernel, joint_maps

PARTS = 2**30  # scipy's capacities are 32-bit integers


def patterns(*shape, causal=False, seed=0, sharp=1.0):
    """Random attention (..., query, key)."""
    random = torch.Generator().manual_seed(seed)
    scores = sharp * torch.randn(*shape, shape[-1], generator=random, dtype=torch.float64)
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
    return scores.softmax(-1)


def mixed(one, residual=0.5):
    """(layer, query, key) capacities, spelled out."""
    maps = one.double().mean(-3)
    return residual * torch.eye(maps.shape[-1], dtype=torch.float64) + (1 - residual) * maps


def awkward(n_layers, n, seed):
    """Capacities in sixteenths: many ties, zeros and one-hot rows; rows sum to one."""
    random = np.random.default_rng(seed)
    rows = random.multinomial(16, random.dirichlet(np.full(n, 0.3), size=(n_layers, n)))
    one_hot = np.eye(n, dtype=int)[random.integers(n, size=(n_layers, n))] * 16
    return torch.from_numpy(np.where(random.random((n_layers, n, 1)) < 0.3, one_hot, rows) / 16)


def by_networkx(maps):
    """All pairs of the last layer."""
    n_layers, n, _ = maps.shape
    graph = nx.DiGraph()
    graph.add_nodes_from(itertools.product(range(n_layers + 1), range(n)))
    for l, f, t in zip(*np.nonzero(maps.numpy()), strict=True):
        graph.add_edge((l + 1, f), (l, t), capacity=float(maps[l, f, t]))
    flow = nx.algorithms.flow.edmonds_karp
    pairs = itertools.product(range(n), repeat=2)
    found = [nx.maximum_flow_value(graph, (n_layers, f), (0, t), flow_func=flow) for f, t in pairs]
    return torch.tensor(found, dtype=torch.float64).reshape(n, n)


def by_scipy(maps, pairs):
    n_layers, n, _ = maps.shape
    l, f, t = np.nonzero(maps.numpy())
    capacity = np.rint(maps[l, f, t].numpy() * PARTS).astype(np.int32)
    graph = sp.csr_array((capacity, ((l + 1) * n + f, l * n + t)), shape=((n_layers + 1) * n,) * 2)
    return [maximum_flow(graph, n_layers * n + f, t).flow_value / PARTS for f, t in pairs]


@pytest.mark.parametrize("residual", [0.5, 0.0, 0.2])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n_layers", "n"), [(2, 2), (3, 4), (4, 5)])
def test_agrees_with_networkx(n_layers, n, causal, residual):
    for seed in range(3):
        one = patterns(n_layers, 2, n, causal=causal, seed=seed, sharp=2)
        expected = by_networkx(mixed(one, residual))
        torch.testing.assert_close(attention_flow(one, residual, [-1])[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("residual", [0.5, 0.0])
@pytest.mark.parametrize("seed", range(12))
def test_ties_zero_capacities_and_one_hot_rows(seed, residual):
    maps = awkward(2 + seed % 4, 3 + seed % 4, seed)
    found = attention_flow(maps[:, None], residual, [-1])[0]
    torch.testing.assert_close(found, by_networkx(mixed(maps[:, None], residual)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["causal", "bidirectional", "sink", "ties", "no residual"])
@pytest.mark.parametrize(("n_layers", "n"), [(12, 24), (6, 65), (5, 130)])
def test_agrees_with_scipy(kind, n_layers, n):
    """Sizes on both sides of the 64 positions that a word holds."""
    one = (
        awkward(n_layers, n, 5)[:, None] if kind == "ties" else patterns(n_layers, 3, n, causal=kind != "bidirectional")
    )
    if kind == "sink":  # all look at the first token mostly, as language models do
        one = one * 0.1
        one[..., 0] += 0.9
    residual = 0.0 if kind == "no residual" else 0.5
    found = attention_flow(one, residual, [-1])[0]
    random = np.random.default_rng(n)
    pairs = [(int(f), int(t)) for f, t in random.integers(n, size=(60, 2))] + [
        (n - 1, 0),
        (n - 1, n - 1),
        (n - 1, n - 2),
    ]
    expected = by_scipy(mixed(one, residual), pairs)
    np.testing.assert_allclose([found[pair] for pair in pairs], expected, rtol=0, atol=1e-6)


def test_flow_has_to_be_rerouted():
    """The straight way down takes what only another start can use: the first push has to be undone in part."""
    maps = torch.zeros(4, 3, 3, dtype=torch.float64)
    maps[3, 0] = torch.tensor([0.5, 0.5, 0])
    maps[2, 0] = torch.tensor([0.5, 0, 0.5])
    maps[2, 1] = torch.tensor([1.0, 0, 0])
    maps[1, 0] = torch.tensor([0.5, 0, 0])
    maps[1, 2] = torch.tensor([0, 0, 1.0])
    maps[0, 0, 0], maps[0, 2, 0] = 1, 1
    assert cumulative_flow(maps)[-1, 0, 0] == 1.0
    edges = flow_edges(maps, 3, 0, 0)
    assert edges[2, 0, 2] == 0.5 and edges[2, 1, 0] == 0.5 and edges[2, 0, 0] == 0


def test_two_tokens_two_layers_by_their_four_cuts():
    one = patterns(2, 1, 2, seed=3)
    (below, above), found = mixed(one), attention_flow(one)[1]
    for f, t in itertools.product(range(2), repeat=2):
        cuts = [
            sum((below if low else above)[(w, t) if low else (f, w)] for w, low in enumerate(cut))
            for cut in itertools.product([False, True], repeat=2)
        ]  # each node between goes with the source or the sink
        assert found[f, t] == pytest.approx(min(map(float, cuts)), abs=1e-12)


def test_identity_and_uniform_maps():
    n = 5
    still = torch.eye(n, dtype=torch.float64).expand(4, 2, n, n)
    assert torch.equal(attention_flow(still), still[:, 0])
    even, ones = torch.full((6, 2, n, n), 1 / n, dtype=torch.float64), torch.ones(n, n, dtype=torch.float64)
    # After two layers there is a way over each token: all of 1 / 2n, from a token to itself one of 1 / 2 + 1 / 2n.
    # After three, a cut passes the source's edges to others, one edge to the token's column, the others' last.
    own = still[0, 0]
    expected = [ones / (2 * n) + own / 2, ones / 2 + own / 2, ones - (ones - own) / (2 * n), *[ones] * 3]
    torch.testing.assert_close(attention_flow(even), torch.stack(expected), rtol=0, atol=1e-12)
    expected = [ones / n, *[ones] * 5]
    torch.testing.assert_close(attention_flow(even, 0.0), torch.stack(expected), rtol=0, atol=1e-12)


def test_the_first_layer_is_its_map():
    one = patterns(3, 2, 6)
    assert torch.equal(attention_flow(one)[0], mixed(one)[0])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("residual", [0.5, 0.1])
def test_lies_between_rollout_and_the_trivial_cuts(causal, residual):
    one = patterns(6, 2, 20, causal=causal, sharp=3)
    flow, maps = attention_flow(one, residual), mixed(one, residual)
    assert (flow >= attention_rollout(one, residual) - 1e-12).all()
    assert (flow <= maps[0].sum(0).clamp(max=1) + 1e-12).all()
    widest = maps[0]
    for layer, one_map in enumerate(maps):
        if layer:  # the best single path: widest first edge and rest
            widest = torch.minimum(one_map[:, :, None], widest[None]).amax(1)
        assert (flow[layer] >= widest - 1e-12).all()


def test_causal_flow_never_comes_from_later_tokens():
    flow = attention_flow(patterns(5, 2, 70, causal=True))
    assert (flow.triu(1) == 0).all() and (flow.diagonal(0, -2, -1) > 0).all()


def test_permuted_tokens_and_heads():
    one = patterns(4, 3, 12, sharp=2)
    flow, order = attention_flow(one), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    moved = attention_flow(one[:, :, order][..., order])
    torch.testing.assert_close(moved, flow[:, order][..., order], rtol=0, atol=1e-12)
    torch.testing.assert_close(attention_flow(one[:, [2, 0, 1, 2, 0, 1]]), flow, rtol=0, atol=1e-12)


def test_one_hot_rows_compose_without_a_residual():
    goes = torch.randint(0, 7, (4, 7), generator=torch.Generator().manual_seed(2))
    flow = attention_flow(torch.eye(7)[goes][:, None], residual=0.0)
    where = torch.arange(7)
    for layer in reversed(range(4)):
        where = goes[layer][where]
    assert torch.equal(flow[-1], torch.eye(7)[where])


def test_chosen_layers_and_targets_are_slices_of_the_whole():
    one = patterns(2, 5, 2, 9, causal=True)
    whole = attention_flow(one)
    assert whole.shape == (2, 5, 9, 9)
    some = attention_flow(one, layers=[-1, 0, 2], targets=[-1, 4, 4])
    assert torch.equal(some, whole[:, [4, 0, 2]][:, :, [8, 4, 4]])
    assert attention_flow(one, layers=[]).shape == (2, 0, 9, 9) and attention_flow(one, targets=[]).shape == (
        2,
        5,
        0,
        9,
    )


def test_batches_are_their_members():
    one = patterns(2, 3, 4, 2, 6)
    whole = attention_flow(one)
    for place in itertools.product(range(2), range(3)):
        assert torch.equal(whole[place], attention_flow(one[place]))


def test_one_token_and_one_layer():
    assert torch.equal(attention_flow(torch.ones(3, 2, 1, 1)), torch.ones(3, 1, 1))
    one = patterns(1, 2, 4)
    assert torch.equal(attention_flow(one), mixed(one))


@pytest.mark.parametrize(
    ("dtype", "result", "atol"),
    [
        (torch.float64, torch.float64, 0),
        (torch.float32, torch.float32, 1e-6),
        (torch.float16, torch.float32, 5e-3),
        (torch.bfloat16, torch.float32, 3e-2),
    ],
)
def test_dtypes(dtype, result, atol):
    one = patterns(4, 3, 10)
    found = attention_flow(one.to(dtype))
    assert found.dtype == result
    torch.testing.assert_close(found.double(), attention_flow(one), rtol=0, atol=atol)


def test_gradients_stop_and_inputs_are_kept():
    one = patterns(3, 2, 5)
    before = one.clone()
    assert not attention_flow(one.requires_grad_()).requires_grad
    assert torch.equal(one.detach(), before)


def test_normalize_makes_rows_of_maps_and_result_sum_to_one():
    one = patterns(4, 2, 6)
    flow = attention_flow(one)
    shares = attention_flow(one, normalize=True)
    torch.testing.assert_close(shares, flow / flow.sum(-1, keepdim=True), rtol=0, atol=1e-12)
    uneven = one * torch.linspace(0.2, 1, 6, dtype=torch.float64)[:, None]
    maps = mixed(uneven)
    maps = maps / maps.sum(-1, keepdim=True)
    expected = by_networkx(maps)
    found = attention_flow(uneven, layers=[3], normalize=True)[0]
    torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True), rtol=0, atol=1e-9)


def test_an_empty_row_stays_empty():
    one = patterns(3, 2, 4)
    one[:, :, 1] = 0
    flow = attention_flow(one, residual=0.0, normalize=True)
    assert (flow[:, 1] == 0).all() and torch.isfinite(flow).all()


def test_an_encoder_decoder_as_one_graph():
    encoder, decoder = mixed(patterns(2, 2, 4)), mixed(patterns(2, 2, 3, causal=True, seed=1))
    cross = 0.5 * patterns(2, 4, seed=2)[:, :3]
    maps = joint_maps(encoder, decoder, cross, torch.full((2, 3), 0.5).double())
    torch.testing.assert_close(cumulative_flow(maps, [-1])[0], by_networkx(maps), rtol=0, atol=1e-9)


def test_capacities_far_from_one():
    maps = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = by_networkx(maps)
    for factor in (1e-3, 1.0, 1e6):
        torch.testing.assert_close(cumulative_flow(factor * maps)[-1], factor * expected, rtol=1e-9, atol=1e-12)
    assert (cumulative_flow(torch.zeros(3, 4, 4)) == 0).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sharp", [0.5, 4.0])
def test_flow_on_edges_is_a_flow(causal, sharp):
    """Within capacities, conserved at every node between, and as large as the maximum."""
    maps = mixed(patterns(5, 2, 67, causal=causal, sharp=sharp))
    for layer, target, source in [(4, 66, 0), (4, 66, 40), (2, 50, 3), (4, -2, -3), (1, 30, 30), (0, 9, 4)]:
        edges = flow_edges(maps, layer, target, source)
        assert edges.shape == (layer + 1, 67, 67)
        assert (edges >= 0).all() and (edges <= maps[: layer + 1] + 1e-12).all()
        torch.testing.assert_close(edges[1:].sum(1), edges[:-1].sum(2), rtol=0, atol=1e-12)
        value = cumulative_flow(maps, [layer], [target])[0, 0, source].item()
        into, out_of = edges[0].sum(0), edges[layer].sum(1)
        assert out_of[target].item() == pytest.approx(value, abs=1e-12)
        assert into[source].item() == pytest.approx(value, abs=1e-12)
        assert torch.count_nonzero(into) <= 1 and torch.count_nonzero(out_of) <= 1


@pytest.mark.parametrize("layer", [0, 3])
def test_flow_to_all_sources_is_the_normalised_row(layer):
    one = patterns(4, 2, 7, causal=True)
    edges = flow_edges(mixed(one), layer, 5)
    torch.testing.assert_close(edges.sum((1, 2)), torch.ones(layer + 1, dtype=torch.float64), rtol=0, atol=1e-12)
    expected = attention_flow(one, normalize=True)[layer, 5]
    torch.testing.assert_close(edges[0].sum(0), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(edges[1:].sum(1), edges[:-1].sum(2), rtol=0, atol=1e-12)


def test_threads_give_the_same_and_can_be_stopped():
    one = patterns(4, 2, 60, causal=True)
    threads, running = torch.get_num_threads(), threading.active_count()
    try:
        torch.set_num_threads(1)
        alone = attention_flow(one)
        torch.set_num_threads(3)
        assert torch.equal(attention_flow(one), alone)
        for count in (1, 3):
            torch.set_num_threads(count)
            seen = []

            def stop(label, done, total):
                seen.append((label, done, total))  # noqa: B023
                if done == 2:
                    raise Stopped("stopped")

            with progress.reporting(stop), pytest.raises(Stopped):
                attention_flow(one)
            assert [done for _, done, _ in seen] == [0, 1, 2] and seen[0][2] > 3
            assert threading.active_count() <= running  # those that worked have ended
    finally:
        torch.set_num_threads(threads)


def test_a_log_that_is_too_short_puts_the_whole_network_back():
    capacity = np.rint(mixed(patterns(4, 2, 12)).numpy() * PARTS).astype(np.int64)
    expected = flow_kernel.flow_values(capacity, np.arange(12), np.arange(12))
    net = flow_kernel.network(capacity)
    short = net._replace(log=net.log[:3])
    ends = np.zeros((2, 5, 1), np.uint64)
    for source, sink in itertools.product(range(12), repeat=2):
        flow_kernel.below(short, source, ends[0])
        flow_kernel.aim(short, sink, ends[1])
        assert flow_kernel.fill(short, source, *ends) == expected[source, sink]
        assert short.count[0] > 3
        flow_kernel.empty(short)


def test_rows_that_do_not_sum_to_one_are_refused_with_the_way_out():
    one = patterns(3, 2, 4)
    one[1, :, 2] *= 0.5
    with pytest.raises(BadInput, match=r"layer 1, row 2 sums to 0\.5.*normalize=True"):
        attention_flow(one)
    attention_flow(one, normalize=True)


def test_bad_input():
    one = patterns(3, 2, 4)
    with pytest.raises(BadInput, match="as many|same tokens"):
        attention_flow(torch.full((2, 1, 3, 4), 0.25))
    with pytest.raises(BadInput, match="There is no layer 3: there are 3"):
        attention_flow(one, layers=[3])
    with pytest.raises(BadInput, match="There is no target -5: there are 4"):
        attention_flow(one, targets=[-5])
    with pytest.raises(BadInput, match="between 0 and 1"):
        attention_flow(one, residual=1.5)
    for bad in (torch.nan, -0.5, torch.inf):
        broken = one.clone()
        broken[0, :, 1, 1] = bad
        for normalize in (False, True):
            with pytest.raises(BadInput):
                attention_flow(broken, normalize=normalize)
        with pytest.raises(BadInput, match="not negative"):
            cumulative_flow(broken[:, 0])
    with pytest.raises(BadInput, match="no attention"):
        cumulative_flow(torch.ones(2, 0, 0))


def test_layers_and_targets_are_whole_numbers_one_alone_keeps_its_axis(as_installed):
    one = patterns(3, 2, 4)
    whole = attention_flow(one)
    assert torch.equal(attention_flow(one, layers=1, targets=-1), whole[1:2, 3:])
    assert torch.equal(attention_flow(one, layers=np.array([2, 0]), targets=torch.tensor([1])), whole[[2, 0]][:, [1]])
    for name, what in (("layers", "layer"), ("targets", "target")):
        for wrong in ([1.5], 1.5, [0, 1.0], "last", ["0"], [[1]]):
            with pytest.raises(BadInput, match=f"A {what} is a whole number from 0 to"):
                attention_flow(one, **{name: wrong})
    with pytest.raises(BadInput, match="A source is a whole number"):
        flow_edges(mixed(one), 1, 0, 0.5)


def test_what_is_no_stack_of_attention_is_a_sentence(as_installed):
    one = patterns(3, 4, 5)
    hidden = one.clone()
    hidden[1, 3, 0, 1:3] += torch.tensor([-1.0, 1.0])
    hidden[1, :3, 0] = torch.tensor([0, 1.0, 0, 0, 0]).double()
    assert (hidden.mean(1) >= 0).all()
    for normalize in (False, True):
        with pytest.raises(BadInput, match="never negative.*in layer 1, head 3"):
            attention_flow(hidden, normalize=normalize)
        with pytest.raises(BadInput, match=r"axes \(\*batch, layer, head, query, key\)"):
            attention_flow(one[0], normalize=normalize)
        for shape, nothing in (((0, 1, 3, 3), "layers"), ((2, 0, 3, 3), "heads"), ((2, 1, 0, 0), "tokens")):
            with pytest.raises(BadInput, match=f"they have no {nothing}"):
                attention_flow(torch.zeros(shape), normalize=normalize)


def test_whole_numbers_are_attention_and_capacities():
    looks = torch.eye(4, dtype=torch.int64).roll(1, 1).expand(3, 2, 4, 4)
    assert torch.equal(attention_flow(looks), attention_flow(looks.float()))
    maps = torch.tensor([[[1, 2], [0, 3]], [[1, 1], [2, 0]]])
    assert torch.equal(cumulative_flow(maps), cumulative_flow(maps.float()))


def test_numba_is_imported_only_for_a_flow_and_needs_no_folder_to_cache_in(tmp_path):
    code = (
        "import sys, torch, workbench.functional as f\n"
        "f.attention_rollout, f.attention_flow\n"
        "assert 'numba' not in sys.modules\n"
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from workbench.functional import flow_kernel\n"
        "assert type(flow_kernel.push._cache).__name__ == 'NullCache'\n"
        "print(f.attention_flow(torch.full((2, 1, 3, 3), 1 / 3))[1, 0, 0].item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1.0)
