"""PageRank of attention against networkx on transformers' own attention."""

import networkx as nx
import pytest
import torch

import workbench
from tests.analyses.attribution.by_hand import DECODERS, ENCODERS, TWO_SIDED, attentions, graphs, output_of


def ranked(links, damping=0.85):
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(links)))
    graph.add_weighted_edges_from((q, k, w) for q, row in enumerate(links.tolist()) for k, w in enumerate(row) if w)
    ranks = nx.pagerank(graph, alpha=damping, tol=1e-12, max_iter=10_000)
    return torch.tensor([ranks[i] for i in range(len(links))], dtype=torch.float64)


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS, *TWO_SIDED])
def test_is_the_mean_of_networkx_ranks_of_each_head(family, double):
    model, prompt = double(family)
    found = workbench.attention_pagerank(model, prompt)
    every = graphs(attentions(output_of(model, model.encode(prompt))))
    expected = torch.stack([torch.stack([ranked(head) for head in heads]).mean(0) for heads in every])
    torch.testing.assert_close(found.scores.double(), expected, rtol=0, atol=1e-6)
    assert len(found.steps) == len(expected) and found.maps is None


def test_heads_and_damping(double):
    model, prompt = double("gpt2")
    every = graphs(attentions(output_of(model, model.encode(prompt))))
    mean = workbench.attention_pagerank(model, prompt, heads="graph", damping=0.5)
    torch.testing.assert_close(
        mean.scores.double(), torch.stack([ranked(heads.mean(0), 0.5) for heads in every]), rtol=0, atol=1e-6
    )
    roots = torch.stack([torch.stack([ranked(head) ** 2 for head in heads]).mean(0).sqrt() for heads in every])
    rms = workbench.attention_pagerank(model, prompt, heads="rms")
    torch.testing.assert_close(rms.scores.double(), roots / roots.sum(-1, keepdim=True), rtol=0, atol=1e-6)


def test_without_damping_a_causal_model_gives_all_to_the_first_token(double):
    model, prompt = double("gpt2")
    ranks = workbench.attention_pagerank(model, prompt, damping=1.0).scores
    assert ranks[:, 0].tolist() == pytest.approx([1.0] * len(ranks), abs=1e-6)
