"""Pairs of rows of one input against the whole list of them, and that samples are fair, seeded and without repeats."""

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import attention_pairs
from workbench.functional.pairs import some_of


def rows(n, inputs, positions, seed):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(inputs, (n,), generator=random), torch.randint(positions, (n,), generator=random)


def every_pair(query_input, query_position, key_input, key_position, causal):
    return {
        (i, j)
        for i in range(len(query_input))
        for j in range(len(key_input))
        if query_input[i] == key_input[j] and (not causal or key_position[j] <= query_position[i])
    }


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_are_all_within_one_input_and_none_else(causal, seed):
    query, key = rows(30, 5, 7, seed), rows(40, 6, 7, seed + 10)  # rows that repeat, inputs with no key or no query
    expected = every_pair(*query, *key, causal)
    found = [tuple(pair) for pair in attention_pairs(*query, *key, causal=causal).tolist()]
    assert set(found) == expected and len(found) == len(expected)
    assert [i for i, _ in found] == sorted(i for i, _ in found)
    some = attention_pairs(*query, *key, causal=causal, most=20, seed=seed)
    assert len(some) == 20 and {tuple(pair) for pair in some.tolist()} <= expected
    assert len(some.unique(dim=0)) == 20


def test_inputs_and_positions_of_any_numbers():
    far = torch.tensor([3, -5, 1_000_000]), torch.tensor([-2, 7, 1_000_000])
    assert attention_pairs(*far, *far, causal=True).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_the_same_seed_gives_the_same_pairs_and_another_others():
    query = rows(200, 2, 50, 0)
    first, again, other = (attention_pairs(*query, *query, causal=True, most=50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("total", [6, 30], ids=["shuffled", "drawn again"])
def test_every_number_is_as_likely_as_another(total):
    most, times = 5, 4000
    counts = torch.zeros(total)
    for seed in range(times):
        chosen = some_of(total, most, seed)
        assert len(set(chosen.tolist())) == most and chosen.tolist() == sorted(chosen.tolist())
        counts[chosen] += 1
    share = most / total
    assert (counts / times - share).abs().max() < 5 * (share * (1 - share) / times) ** 0.5


def test_of_more_pairs_than_memory_holds():
    n = 1_000_000
    one, position = torch.zeros(n, dtype=torch.long), torch.arange(n)
    pairs = attention_pairs(one, position, one, position, causal=True, most=1000)  # of 5e11
    assert pairs.shape == (1000, 2) and (pairs[:, 1] <= pairs[:, 0]).all()
    assert pairs[:, 0].double().mean() / n == pytest.approx(2 / 3, abs=0.05)
    assert (pairs[:, 1] / (pairs[:, 0] + 1)).mean() == pytest.approx(0.5, abs=0.05)


def test_nothing_to_pair_and_what_does_not_fit(as_installed):
    none, two = torch.empty(0, dtype=torch.long), torch.arange(2)
    assert attention_pairs(none, none, two, two, causal=True).shape == (0, 2)
    assert attention_pairs(two, two, two + 5, two, causal=False).shape == (0, 2)
    with pytest.raises(BadInput, match="3 and 2 for queries"):
        attention_pairs(torch.arange(3), two, two, two, causal=True)
    with pytest.raises(BadInput, match="not 0"):
        attention_pairs(two, two, two, two, causal=True, most=0)
