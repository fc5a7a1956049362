"""What a model's predictions are close to, against plain counting on the model's own logits."""

from collections import Counter

import numpy as np
import pytest
import torch

import workbench
from workbench import functional
from workbench.errors import BadInput
from workbench.testing import tiny_model

PROMPT = "the cat sat on the mat and the cat sat on the"


@pytest.fixture(scope="module")
def micro():
    return workbench.load("micro")


@pytest.fixture(scope="module")
def found(micro):
    return workbench.in_context_algorithms(micro, PROMPT, exchanges=40)


def counted(ids, query, n):
    """What followed the last n - 1 tokens up to here, with backoff; and how many places that was."""
    while True:
        now = ids[query - n + 2 : query + 1] if n > 1 else []
        keys = [k for k in range(n - 1, query + 1) if query >= n - 2 and ids[k - n + 1 : k] == now]
        if keys:
            return Counter(ids[k] for k in keys)
        n -= 1


def test_distances_are_those_of_plain_counting(micro, found):
    batch = micro.encode(PROMPT)
    ids = batch["input_ids"][0].tolist()
    with torch.no_grad():
        probabilities = micro.logits(batch)[0].softmax(-1).double().numpy()
    vocab = probabilities.shape[1]
    for row, n in enumerate([0, 1, 2, 3]):
        for query, p in enumerate(probabilities):
            q = np.full(vocab, 1 / vocab)
            if n:
                counts = counted(ids, query, n)
                q = np.array([counts[value] / counts.total() for value in range(vocab)])
            assert found.distance[row, query].item() == pytest.approx(abs(p - q).sum() / 2, abs=1e-5)
            there = q > 0
            expected = (q[there] * np.log(q[there] / p[there])).sum()
            assert found.divergence[row, query].item() == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert found.predictors == ("uniform", "unigram", "bigram", "trigram")
    assert found.closest[-1] in ("bigram", "trigram")


def test_a_model_that_copies_is_closest_to_ngrams_and_an_untrained_one_is_not(found):
    means = dict(zip(found.predictors, found.distance.mean(-1).tolist(), strict=True))
    assert means["trigram"] < means["bigram"] < means["unigram"]
    untrained = workbench.in_context_algorithms(tiny_model("gpt2"), PROMPT, exchanges=40)
    assert untrained.predictors[int(untrained.distance.mean(-1).argmin())] == "uniform"
    assert found.agreement[2] > 0.8
    assert not untrained.agreement[2] > 0.8
    assert found.agreement[0].isnan()


def test_induction_heads_are_bigram_heads_and_others_are_at_chance(found):
    frame = found.heads_frame().set_index(["n", "layer", "head"])
    assert frame.loc[(2, 1, 0), "score"] > 0.85
    untrained = workbench.in_context_algorithms(tiny_model("gpt2"), PROMPT, exchanges=0).heads_frame()
    assert (untrained["score"] - untrained["chance"]).abs().max() < 0.1
    assert len(workbench.in_context_algorithms(tiny_model("gpt2"), PROMPT, exchanges=0).exchanged) == 0


def test_scores_are_those_of_the_patterns(micro, found):
    batch = micro.encode(PROMPT)
    ids = batch["input_ids"][0]
    with workbench.reading(micro, ["blocks.1.attn.pattern"]) as values, torch.no_grad():
        micro.module(**batch)
    expected = functional.ngram_attention(values["blocks.1.attn.pattern"][0], ids, 3)
    torch.testing.assert_close(found.scores[1, 1], expected)
    assert found.queries[1] == functional.ngram_matches(ids, 3).any(-1).sum()


def test_exchanges_are_reruns_with_another_token(micro, found):
    batch = micro.encode(PROMPT)
    ids = batch["input_ids"].clone()
    n = ids.shape[1]
    assert found.exchanged.tolist() == list(range(n - 41, n - 1))
    with torch.no_grad():
        before = micro.logits(batch)[0, -1].softmax(-1)
        for row, place in enumerate(found.exchanged.tolist()):
            changed = ids.clone()
            changed[0, place] = micro.token_id(found.instead[row])
            assert int(changed[0, place]) not in ids[0].tolist()
            after = micro.logits({**batch, "input_ids": changed})[0, -1].softmax(-1)
            assert found.model_change[row].item() == pytest.approx(((after - before).abs().sum() / 2).item(), abs=1e-5)
            for order in (1, 2, 3):
                was, now = (counted(one[0].tolist(), n - 1, order) for one in (ids, changed))
                apart = sum(abs(was[v] / was.total() - now[v] / now.total()) for v in {*was, *now}) / 2
                assert found.predictor_change[order, row].item() == pytest.approx(apart, abs=1e-6)


def test_a_random_chain_has_probabilities_of_its_own(micro):
    made = workbench.in_context_algorithms(micro, "a", chain=4, length=80, exchanges=0)
    again = workbench.in_context_algorithms(micro, "a", chain=4, length=80, exchanges=0)
    other = workbench.in_context_algorithms(micro, "a", chain=4, length=80, exchanges=0, seed=1)
    assert made.tokens == again.tokens != other.tokens
    assert made.predictors[-1] == "the chain"
    assert len(set(made.tokens[-80:])) == 4
    # by hand: the chain's table is the one thing that its bigrams come near to
    ids = [micro.token_id(token) for token in made.tokens]
    with torch.no_grad():
        probabilities = micro.logits(micro.encode(torch.tensor(ids)))[0].softmax(-1)
    words = sorted(set(ids[-80:]))
    left = 1 - probabilities[-1, words].sum()
    assert left / 2 <= made.distance[-1, -1] + 1e-6


def test_what_is_shown(found, tmp_path):
    assert workbench.load_result(found.save(tmp_path / "found")).to_frame().equals(found.to_frame())
    assert "trigram" in found.brief()[0]
    assert found.figure("heads").data[0].zmax == 1
    assert len(found.figure("exchange").data) == 5
    assert len(found.figure().data) == len(found.figure("divergence").data) == 4
    summary = found.summary_frame()
    assert summary["closest_at"].sum() == len(found.tokens)


def test_why_there_is_no_agreement_is_said(micro, found):
    assert "which every exchange changes alike, or not at all: uniform, unigram." in found.brief()[0]
    for prompt in (PROMPT[:1], PROMPT[:2]):
        one = workbench.in_context_algorithms(micro, prompt)
        assert bool(one.agreement.isnan().all())
        assert f"it takes 3 exchanged tokens, not {len(one.exchanged)}." in one.brief()[0]


def test_bad_input_is_a_sentence(micro):
    with pytest.raises(BadInput, match="no position 99"):
        workbench.in_context_algorithms(micro, PROMPT, position=99)
    with pytest.raises(BadInput, match="order must be"):
        workbench.in_context_algorithms(micro, PROMPT, order=1)
