"""Statistics of read-out states: against the whole [rows, vocab] tensor, and never making it."""

import math

import pytest
import torch

from workbench.functional import lens_statistics


def setup(rows=(3, 5), d_model=8, vocab=40):
    random = torch.Generator().manual_seed(0)
    states = torch.randn(*rows, d_model, generator=random, dtype=torch.float64)
    unembed = torch.randn(vocab, d_model, generator=random, dtype=torch.float64)
    return states, unembed


@pytest.mark.parametrize("chunk_size", [1, 4, 15, 1000])
def test_agrees_with_the_whole_tensor_for_any_chunk(chunk_size):
    states, unembed = setup()
    tokens = torch.arange(15).reshape(3, 5)
    lens = lens_statistics(states, lambda x: x @ unembed.T, top_k=4, tokens=tokens, chunk_size=chunk_size)
    probs = (states @ unembed.T).softmax(-1)
    order = probs.argsort(-1, descending=True)
    for i in range(3):
        for j in range(5):
            p = probs[i, j].tolist()
            assert lens.top_ids[i, j].tolist() == order[i, j, :4].tolist()
            assert lens.entropy[i, j].item() == pytest.approx(-sum(x * math.log(x) for x in p), abs=1e-12)
            token = int(tokens[i, j])
            assert lens.rank[i, j].item() == order[i, j].tolist().index(token)
            assert lens.log_prob[i, j].item() == pytest.approx(math.log(p[token]))
            assert lens.top_log_probs[i, j].tolist() == pytest.approx([math.log(p[k]) for k in order[i, j, :4]])


def test_never_reads_more_rows_than_a_chunk():
    states, unembed = setup()
    seen = []

    def readout(x):
        seen.append(len(x))
        return x @ unembed.T

    lens_statistics(states, readout, chunk_size=4)
    assert seen == [4, 4, 4, 3]


def test_without_a_token_there_is_no_rank_and_k_is_capped_at_the_vocabulary():
    states, unembed = setup(vocab=3)
    lens = lens_statistics(states, lambda x: x @ unembed.T, top_k=10)
    assert lens.rank is None and lens.log_prob is None
    assert lens.top_ids.shape == (3, 5, 3)


def test_an_even_readout_has_the_largest_entropy():
    lens = lens_statistics(torch.zeros(2, 8), lambda x: x.new_zeros(len(x), 40), tokens=7)
    assert lens.entropy.tolist() == pytest.approx([math.log(40)] * 2)
    assert lens.rank.tolist() == [0, 0]


def test_impossible_answers_add_nothing_to_the_entropy():
    logits = torch.tensor([0.0, 0.0, -torch.inf])
    lens = lens_statistics(torch.zeros(1, 8), lambda x: logits.expand(len(x), 3), tokens=2)
    assert lens.entropy.item() == pytest.approx(math.log(2))
    assert lens.log_prob.item() == -math.inf and lens.rank.item() == 2
