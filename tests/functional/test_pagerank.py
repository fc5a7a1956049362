"""PageRank on attention against networkx, plain iteration, and graphs whose ranks are known."""

import networkx as nx
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional.pagerank import attention_pagerank, pagerank


def attention(*shape, causal=False, seed=0):
    scores = 2 * torch.randn(*shape, shape[-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
    return scores.softmax(-1)


def by_networkx(weights, damping):
    """The library's answer; it divides rows by their sums and lets a node without links go anywhere."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(weights)))
    graph.add_weighted_edges_from((q, k, w) for q, row in enumerate(weights.tolist()) for k, w in enumerate(row) if w)
    ranks = nx.pagerank(graph, alpha=damping, tol=1e-14, max_iter=10_000)
    return torch.tensor([ranks[i] for i in range(len(weights))], dtype=torch.float64)


def close(found, expected, *, rtol=1e-10, atol=1e-12):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=rtol, atol=atol)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85, 0.99])
def test_agrees_with_networkx(causal, damping):
    maps = attention(9, causal=causal)
    close(pagerank(maps, damping), by_networkx(maps, damping), rtol=1e-9)


def test_rows_that_do_not_sum_to_one_are_divided_as_networkx_does():
    weights = torch.rand(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights[3] = 0.0  # links to every token alike
    close(pagerank(weights, normalize=True), by_networkx(weights, 0.85), rtol=1e-9)
    close(pagerank(weights, 1.0, normalize=True), by_networkx(weights, 1.0), rtol=1e-9)
    with pytest.raises(BadInput, match=r"row 3 sums to 0.*normalize=True"):
        pagerank(torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])))


@pytest.mark.parametrize("damping", [0.3, 0.85, 1.0])
def test_where_each_token_gives_and_takes_alike_all_ranks_are_equal(damping):
    n = 6
    close(pagerank(torch.full((n, n), 1 / n, dtype=torch.float64), damping), [1 / n] * n)
    orders = [torch.randperm(n, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    mixed = torch.eye(n, dtype=torch.float64)[torch.stack(orders)].mean(0)  # rows and columns sum to one
    close(pagerank(mixed, damping), [1 / n] * n)


@pytest.mark.parametrize("damping", [0.2, 0.85])
def test_a_sink_has_a_closed_form(damping):
    n, sink = 5, 2
    maps = torch.zeros(n, n, dtype=torch.float64)
    maps[:, sink] = 1.0
    others = (1 - damping) / n
    close(pagerank(maps, damping), [damping + others if i == sink else others for i in range(n)])
    close(pagerank(maps, 1.0), torch.eye(n)[sink])


def test_without_damping_it_is_the_limit_of_plain_iteration():
    maps = attention(8)
    ranks = torch.full((8,), 1 / 8, dtype=torch.float64)
    for _ in range(2000):
        ranks = maps.T @ ranks
    close(pagerank(maps, 1.0), ranks)


def test_without_damping_causal_attention_ends_on_the_first_token():
    """That is what damping is for: this rank tells nothing of the attention."""
    maps = attention(3, 12, causal=True)
    maps[2] = torch.eye(12) * 0.9999
    maps[2, :, 0] += 0.0001  # hardly ever leaves
    close(pagerank(maps, 1.0), torch.eye(12)[0].expand(3, 12), atol=1e-9)
    assert pagerank(maps)[0, 1:].min() > 0.01


def test_without_damping_a_walk_to_and_fro_is_averaged():
    maps = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.float64)  # A^T s swings for ever
    close(pagerank(maps, 1.0), [0.5, 0.5, 0.0])
    apart = torch.eye(4, dtype=torch.float64)
    close(pagerank(apart, 1.0), [0.25] * 4)  # each part keeps what it began with


def test_heads_become_one_in_three_ways():
    patterns = attention(2, 3, 5)
    each = torch.stack([torch.stack([by_networkx(head, 0.85) for head in layer]) for layer in patterns])
    close(attention_pagerank(patterns), each.mean(1), rtol=1e-9)
    root = (each**2).mean(1).sqrt()
    close(attention_pagerank(patterns, heads="rms"), root / root.sum(-1, keepdim=True), rtol=1e-9)
    graph = torch.stack([by_networkx(sum(layer) / 3, 0.85) for layer in patterns])
    close(attention_pagerank(patterns, heads="graph"), graph, rtol=1e-9)
    assert not torch.allclose(graph, each.mean(1), atol=1e-3)
    close(attention_pagerank(patterns, 0.4, "graph")[1], by_networkx(sum(patterns[1]) / 3, 0.4), rtol=1e-9)


@pytest.mark.parametrize("damping", [0.85, 1.0])
@pytest.mark.parametrize("heads", ["mean", "rms", "graph"])
def test_ranks_follow_tokens_and_batches_stay_apart(damping, heads):
    patterns = attention(2, 3, 2, 6)
    ranks = attention_pagerank(patterns, damping, heads)
    assert ranks.shape == (2, 3, 6)
    close(ranks.sum(-1), torch.ones(2, 3))
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    close(attention_pagerank(patterns[..., order, :][..., order], damping, heads), ranks[..., order])
    close(attention_pagerank(patterns[1], damping, heads), ranks[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_types_are_computed_in_single_precision(dtype):
    patterns = attention(2, 2, 20, causal=True).to(dtype)
    ranks = attention_pagerank(patterns)
    assert ranks.dtype == torch.float32
    exact = attention_pagerank(patterns.double(), normalize=True)
    coarse = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-5}[dtype]  # their rows miss one by that
    close(ranks.double(), exact, rtol=coarse, atol=0)


def test_what_cannot_be_ranked_is_a_sentence():
    with pytest.raises(BadInput, match="not 3 and 4"):
        pagerank(torch.full((3, 4), 0.25))
    with pytest.raises(BadInput, match=r"between 0 and 1, not 1\.5"):
        pagerank(attention(3), 1.5)
    broken = attention(3)
    broken[1, 1] = torch.nan
    with pytest.raises(BadInput, match="NaN"):
        pagerank(broken)
    for weights in (broken, -attention(3)):
        with pytest.raises(BadInput, match="not negative"):
            pagerank(weights, normalize=True)


def test_one_token_has_all():
    assert attention_pagerank(torch.ones(2, 3, 1, 1)).tolist() == [[1.0], [1.0]]
