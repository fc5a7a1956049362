"""Sink mass against loops, closed forms and the models' own arithmetic; norms beside those of the others."""

import statistics

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import (
    norm_ratio,
    sink_mass,
    sink_queries,
    sink_share,
    softmax_with_bias,
    uniform_sink_mass,
)


def random_patterns(*heads, length, both_ways=False, seed=0):
    scores = torch.randn(*heads, length, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    hidden = torch.ones(length, length).triu(1).bool()
    return (scores if both_ways else scores.masked_fill(hidden, -torch.inf)).softmax(-1)


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("chosen", [None, (0, 2, 5)])
def test_sink_mass_is_that_of_a_loop(both_ways, chosen):
    patterns = random_patterns(2, length=6, both_ways=both_ways)
    mask = None if chosen is None else torch.tensor([i in chosen for i in range(6)])
    found = sink_mass(patterns, queries=mask, both_ways=both_ways)
    counts = sink_queries(6, queries=mask, both_ways=both_ways)
    for head in range(2):
        for key in range(6):
            rows = [i for i in range(6) if (i != key if both_ways else i > key) and (chosen is None or i in chosen)]
            assert counts[key] == len(rows)
            if rows:
                expected = statistics.fmean(patterns[head, i, key].item() for i in rows)
                assert found[head, key].item() == pytest.approx(expected, abs=1e-14)
            else:
                assert found[head, key].isnan()


@pytest.mark.parametrize("length", [1, 2, 5, 64])
def test_uniform_causal_attention_is_harmonic(length):
    uniform = torch.ones(length, length, dtype=torch.float64).tril() / torch.arange(1, length + 1)[:, None]
    expected = [
        sum(1 / (i + 1) for i in range(k + 1, length)) / (length - 1 - k) if k < length - 1 else float("nan")
        for k in range(length)
    ]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(uniform_sink_mass(length), expected, equal_nan=True)
    torch.testing.assert_close(sink_mass(uniform), expected, equal_nan=True)
    even = torch.full((length, length), 1 / length, dtype=torch.float64)
    both = sink_mass(even, both_ways=True)
    torch.testing.assert_close(uniform_sink_mass(length, both_ways=True), both, equal_nan=True)


def test_all_attention_on_the_first_token_is_one_and_its_own_row_never_counts():
    sink = torch.zeros(5, 5)
    sink[:, 0] = 1
    assert sink_mass(sink).tolist()[:4] == [1, 0, 0, 0]
    own = torch.eye(5)  # row 0 is that of the sink, and says nothing
    assert sink_mass(own)[0] == 0


def test_relu_attention_may_give_less_than_everything():
    rows = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.1, 0.0], [0.0, 0.4, 0.0]])
    torch.testing.assert_close(sink_mass(rows), torch.tensor([0.1, 0.4, torch.nan]), equal_nan=True)


def test_share_of_sink_heads_counts_those_above_the_threshold():
    mass = torch.tensor([[0.3, 0.31], [0.9, torch.nan]])
    assert sink_share(mass).item() == 0.5
    assert sink_share(mass, 0.2).item() == 0.75
    assert sink_share(mass.half()).dtype == torch.float32


@pytest.mark.parametrize("length", [2, 3, 4, 7])
def test_norms_beside_those_of_the_others(length):
    states = torch.randn(3, length, 4, generator=torch.Generator().manual_seed(length), dtype=torch.float64)
    norms = [[sum(x * x for x in row) ** 0.5 for row in state] for state in states.tolist()]
    for against, of in (("mean", statistics.fmean), ("median", statistics.median)):
        found = norm_ratio(states, against=against)
        for s, state in enumerate(norms):
            for i, own in enumerate(state):
                assert found[s, i].item() == pytest.approx(own / of(state[:i] + state[i + 1 :]))


def test_norms_with_no_others_to_stand_beside_are_nan():
    assert norm_ratio(torch.ones(1, 3)).isnan().all()
    assert norm_ratio(torch.ones(1, 3), against="median").isnan().all()
    lone = torch.tensor([[2.0, 0], [0, 0], [0, 0]])
    assert norm_ratio(lone).isnan().tolist() == [True, False, False]
    assert norm_ratio(lone)[1] == 0


def test_a_bias_of_nothing_adds_one_to_the_denominators():
    scores = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens, extra = softmax_with_bias(scores, torch.zeros(2, 4, dtype=torch.float64))
    torch.testing.assert_close(tokens, scores.exp() / (1 + scores.exp().sum(-1, keepdim=True)))
    torch.testing.assert_close(tokens.sum(-1) + extra, torch.ones(2, 4, dtype=torch.float64))
    plain, none = softmax_with_bias(scores, torch.full((2, 4), -torch.inf, dtype=torch.float64))
    torch.testing.assert_close(plain, scores.softmax(-1))
    assert not none.any()
    large, _ = softmax_with_bias(scores + 800, torch.zeros(2, 4, dtype=torch.float64))
    torch.testing.assert_close(large, scores.softmax(-1))


def test_half_precision_is_summed_in_float32():
    patterns = random_patterns(1, length=64).half()
    assert sink_mass(patterns).dtype == torch.float32
    torch.testing.assert_close(sink_mass(patterns), sink_mass(patterns.double()).float(), equal_nan=True)


@pytest.mark.usefixtures("as_installed")
def test_bad_input_is_a_sentence():
    with pytest.raises(BadInput, match="square"):
        sink_mass(torch.zeros(2, 3))
    with pytest.raises(BadInput, match="3 entries"):
        sink_mass(torch.zeros(3, 3), queries=torch.ones(2, dtype=torch.bool))
    with pytest.raises(BadInput, match="true or false"):
        sink_mass(torch.zeros(3, 3), queries=torch.ones(3))
    with pytest.raises(BadInput, match="'mean' or the 'median'"):
        norm_ratio(torch.ones(3, 2), against="sum")
    with pytest.raises(BadInput, match="a bias for each query"):
        softmax_with_bias(torch.zeros(3, 3), torch.zeros(2))
    with pytest.raises(BadInput, match="at least one position"):
        uniform_sink_mass(0)
