"""N-gram heads and predictions against plain counting."""

from collections import Counter

import pytest
import torch

from workbench import functional
from workbench.errors import BadInput

TEXT = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(0))


def followers(tokens, query, n):
    """Positions up to the query before which the same n - 1 tokens stand as end at it."""
    if query < n - 2:
        return []
    now = tokens[query - n + 2 : query + 1]
    return [key for key in range(n - 1, query + 1) if tokens[key - n + 1 : key] == now]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_matches_are_those_of_a_plain_search(n):
    tokens = TEXT.tolist()
    found = functional.ngram_matches(TEXT, n)
    for query in range(len(tokens)):
        assert found[query].nonzero().flatten().tolist() == followers(tokens, query, n)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_rows_sum_to_one_or_to_zero_where_nothing_matches(n):
    sums = functional.ngram_pattern(TEXT, n).sum(-1)
    some = torch.tensor([bool(followers(TEXT.tolist(), query, n)) for query in range(len(TEXT))])
    torch.testing.assert_close(sums, some.float())
    assert n == 1 or not some.all()


def test_on_a_repeated_block_a_bigram_head_is_an_ideal_induction_head():
    period = 6
    tokens = functional.repeated_tokens(period, 2, batch=1, vocab=torch.arange(20), seed=0)[0]
    ideal = torch.zeros(12, 12)
    for query in range(period, 12):
        ideal[query, query - period + 1] = 1
    assert torch.equal(functional.ngram_pattern(tokens, 2), ideal)
    longer = functional.repeated_tokens(period, 4, batch=1, vocab=torch.arange(20), seed=0)[0]
    pattern = functional.ngram_pattern(longer, 2)
    assert functional.prefix_matching(pattern, period, start=0, copies="all").item() == pytest.approx(1)
    assert functional.ngram_attention(pattern, longer, 2).item() == pytest.approx(1)


def test_attention_to_followers():
    matches = functional.ngram_matches(TEXT, 3)
    ideal = functional.ngram_pattern(TEXT, 3)
    latest = torch.zeros_like(ideal)  # looks at the last match alone
    away = torch.zeros_like(ideal)
    for query in range(len(TEXT)):
        keys = matches[query].nonzero().flatten()
        latest[query, keys[-1] if len(keys) else 0] = 1
        away[query, (~matches[query, : query + 1]).nonzero().flatten()[-1]] = 1
    even = functional.even_attention(len(TEXT), causal=True).float()
    heads = torch.stack([ideal, latest, away, even])
    some = matches.any(-1)
    chance = (matches.sum(-1) / (torch.arange(len(TEXT)) + 1))[some].mean().item()
    assert functional.ngram_attention(heads, TEXT, 3).tolist() == pytest.approx([1, 1, 0, chance])
    assert functional.ngram_attention(even, torch.arange(40), 2).isnan()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("backoff", [True, False])
def test_predictions_are_counts(n, backoff):
    tokens = TEXT.tolist()
    found = functional.ngram_predictions(TEXT, n, values=4, backoff=backoff)
    for query in range(len(tokens)):
        order = n
        while backoff and not followers(tokens, query, order):
            order -= 1
        counted = Counter(tokens[key] for key in followers(tokens, query, order))
        expected = [counted[value] / max(1, counted.total()) for value in range(4)]
        assert found[query].tolist() == pytest.approx(expected)
    last = functional.ngram_predictions(TEXT, n, values=4, backoff=backoff, at=-1)
    torch.testing.assert_close(last, found[-1:])


def test_a_batch_is_as_each_text_alone():
    two = torch.stack([TEXT, TEXT.flip(0)])
    found = functional.ngram_predictions(two, 3, values=3)
    assert torch.equal(found[1], functional.ngram_predictions(TEXT.flip(0), 3, values=3))
    assert torch.equal(functional.ngram_pattern(two, 2)[0], functional.ngram_pattern(TEXT, 2))


def test_in_a_long_text_of_a_chain_bigrams_come_near_its_own_probabilities():
    generator = torch.Generator().manual_seed(1)
    chain = torch.softmax(2 * torch.randn(5, 5, generator=generator), -1)
    text = [0]
    for _ in range(1500):
        text.append(int(torch.multinomial(chain[text[-1]], 1, generator=generator)))
    tokens = torch.tensor(text)
    truth = chain[tokens]
    apart = {n: functional.total_variation(functional.ngram_predictions(tokens, n, values=5), truth) for n in (1, 2, 4)}
    assert apart[2][-300:].mean() < 0.06 < 0.3 < apart[1][-300:].mean()
    assert apart[2][-300:].mean() < apart[4][-300:].mean()  # longer contexts are seen less often
    assert functional.total_variation(truth, truth).max() == 0


def test_total_variation_is_half_the_sum_of_differences():
    p, q = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]])
    assert functional.total_variation(p, q).tolist() == [0.25, 1.0]


def test_bad_input_is_a_sentence():
    for wrong, match in [
        (lambda: functional.ngram_matches(TEXT, 0), "1 token or more"),
        (lambda: functional.ngram_predictions(TEXT, 2, values=2), "below values"),
        (lambda: functional.ngram_attention(torch.zeros(2, 5, 5), TEXT, 2), "query, key"),
    ]:
        with pytest.raises(BadInput, match=match):
            wrong()
