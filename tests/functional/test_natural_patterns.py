"""Attention on what comes again in ordinary text: a loop over cells, heads made for it, padding, chance."""

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import attention_scores, even_attention, induction_mass, same_token_mass

TEXT = torch.tensor([5, 3, 3, 8, 5, 3, 9, 8, 8, 5])


def causal(n_heads=3, size=10, *, seed=0):
    scores = torch.randn(n_heads, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scores.masked_fill(torch.ones(size, size).triu(1).bool(), -torch.inf).softmax(-1)


def slowly(head, tokens, shift):
    """The mean over queries of attention `shift` after each earlier occurrence, and the number of queries."""
    masses = []
    for query, token in enumerate(tokens):
        places = {at + shift for at in range(query) if tokens[at] == token} - {query}
        if places:
            masses.append(sum(head[query, place].item() for place in places))
    return sum(masses) / len(masses), len(masses)


@pytest.mark.parametrize(("score", "shift"), [(induction_mass, 1), (same_token_mass, 0)])
def test_agrees_with_a_loop_over_queries(score, shift):
    for pattern in (causal(), torch.rand(3, 10, 10, dtype=torch.float64).softmax(-1)):
        found = score(pattern, TEXT)
        expected = [slowly(head, TEXT.tolist(), shift) for head in pattern]
        torch.testing.assert_close(found.values, torch.tensor([v for v, _ in expected], dtype=torch.float64))
        assert found.counts.item() == expected[0][1]


def test_counts_are_of_queries_that_have_such_a_place():
    assert same_token_mass(causal(), TEXT).counts.item() == 6
    assert induction_mass(causal(), TEXT).counts.item() == 5  # the second 3 in 3 3 has nothing to find
    alone = torch.arange(10)
    for score in (induction_mass, same_token_mass):
        found = score(causal(), alone)
        assert found.counts.item() == 0
        assert found.values.isnan().all()


def test_heads_made_for_it_have_all_of_it():
    ideal = torch.zeros(2, 10, 10)
    for query in range(10):
        earlier = [at for at in range(query) if TEXT[at] == TEXT[query]]
        ideal[0, query, max((at + 1 for at in earlier if at + 1 < query), default=0)] = 1.0
        ideal[1, query, max(earlier, default=query)] = 1.0
    assert induction_mass(ideal, TEXT).values[0] == 1.0
    assert same_token_mass(ideal, TEXT).values[1] == 1.0
    assert same_token_mass(ideal, TEXT).values[0] < 0.5
    assert induction_mass(torch.eye(10)[None], TEXT).values.item() == 0.0  # a head on itself finds nothing
    assert same_token_mass(torch.eye(10)[None], TEXT).values.item() == 0.0


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    padded = torch.full((2, 3, 14, 14), 1 / 14, dtype=torch.float64)
    tokens, mask = torch.full((2, 14), 5), torch.zeros(2, 14, dtype=torch.bool)  # padding is a 5 like others
    for row, size in enumerate((10, 7)):
        real = slice(14 - size, 14) if side == "left" else slice(0, size)
        padded[row, :, real] = 0.0
        padded[row, :, real, real] = causal(size=size, seed=row)
        tokens[row, real], mask[row, real] = TEXT[:size], True
    for score in (induction_mass, same_token_mass):
        together = score(padded, tokens, mask=mask)
        for row, size in enumerate((10, 7)):
            alone = score(causal(size=size, seed=row), TEXT[:size])
            torch.testing.assert_close(together.values[row], alone.values)
            assert together.counts[row] == alone.counts


def test_marks_in_the_middle_are_not_what_came_after():
    tokens, mask = torch.tensor([5, 0, 3, 5, 4]), torch.tensor([True, False, True, True, True])
    assert induction_mass(causal(size=5), tokens, mask=mask).counts.item() == 0
    assert induction_mass(causal(size=5), tokens).counts.item() == 1


def test_even_attention_is_chance():
    even = even_attention(10, causal=True)
    assert torch.equal(even[3], torch.tensor([0.25] * 4 + [0.0] * 6))
    assert torch.equal(even_attention(4, causal=False), torch.full((4, 4), 0.25))
    places = [len([at for at in range(q) if TEXT[at] == TEXT[q]]) / (q + 1) for q in range(10)]
    expected = sum(places) / sum(share > 0 for share in places)
    assert same_token_mass(even[None], TEXT).values.item() == pytest.approx(expected)
    assert attention_scores(even[None]).values[0, 2].item() == pytest.approx(sum(1 / (q + 1) for q in range(10)) / 10)


def test_half_precision_is_summed_in_single():
    exact = same_token_mass(causal(), TEXT).values
    rough = same_token_mass(causal().half(), TEXT).values
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.double(), exact, atol=1e-3, rtol=1e-2)


def test_tokens_of_another_length_are_a_sentence(as_installed):
    with pytest.raises(BadInput, match="9 tokens do not go with attention of shape"):
        induction_mass(causal(), TEXT[:9])
