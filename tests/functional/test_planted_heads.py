"""Heads made by hand on a toy corpus: each comes first in the score for its kind, among all others and noise."""

import math

import pytest
import torch

from workbench.functional import (
    attention_scores,
    cluster_score,
    induction_mass,
    norm_gap,
    position_spiral,
    same_token_mass,
)

TEXTS, LENGTH, VOCABULARY, TOPICS, D = 24, 30, 12, 3, 48
SHARP = 40.0  # a planted match outweighs all else
PLANTED = ("previous", "induction", "same token", "sink", "topic", "spiral", "long keys")
RANDOM = 12


def corpus(seed):
    """Tokens (text, position) of a few words each, so that words come again; and each text's topic."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.rand(TEXTS, VOCABULARY, generator=generator).argsort(-1)[:, :8]  # 8 of 12 in each text
    tokens = words.gather(1, torch.randint(0, 8, (TEXTS, LENGTH), generator=generator))
    return tokens, torch.arange(TEXTS) % TOPICS


def heads(tokens, topics, seed):
    """Queries and keys (head, text, position, d): the planted ones in the order of PLANTED, then noise."""
    generator = torch.Generator().manual_seed(seed + 100)

    def noise():
        return 0.3 * torch.randn(TEXTS, LENGTH, D, generator=generator)

    code = torch.linalg.qr(torch.randn(D, D, generator=generator))[0]  # orthonormal: words, places, topics and one mark
    place = torch.arange(LENGTH)
    words = torch.nn.functional.pad(code[:VOCABULARY], (0, 0, 1, 0))  # row 0 is no word
    before = torch.nn.functional.pad(tokens[:, :-1] + 1, (1, 0))
    places = torch.nn.functional.pad(code[:LENGTH], (0, 0, 1, 0))
    angle = 2 * math.pi * place / 10
    wound = 4 * (angle.cos()[:, None] * code[0] + angle.sin()[:, None] * code[1])
    themes = 3 * code[40 + topics][:, None].expand(TEXTS, LENGTH, D)
    mark = code[47].expand(TEXTS, LENGTH, D)
    made = {
        "previous": (SHARP * places[place].expand(TEXTS, -1, -1), places[place + 1].expand(TEXTS, -1, -1)),
        "induction": (SHARP * words[tokens + 1], words[before]),
        "same token": (SHARP * words[tokens + 1], words[tokens + 1]),
        "sink": (SHARP * mark, mark * (place == 0)[:, None]),
        "topic": (themes, themes),
        "spiral": (wound.expand(TEXTS, -1, -1), wound.expand(TEXTS, -1, -1)),
        "long keys": (noise(), 30 * noise()),
    }
    pairs = [(q + noise(), k + noise()) for q, k in (made[name] for name in PLANTED)]
    pairs += [(3 * noise(), 3 * noise()) for _ in range(RANDOM)]
    return (torch.stack(side) for side in zip(*pairs, strict=True))


def all_scores(tokens, topics, queries, keys):
    """Every score, one value a head: a query sees no later key; means over texts weigh queries alike."""
    unseen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    patterns = (queries @ keys.mT).masked_fill(unseen, -torch.inf).softmax(-1).transpose(0, 1)  # (text, head, ...)
    usual = attention_scores(patterns, skip_first=True)
    found = {name: usual.values[..., usual.names.index(name)].mean(0) for name in ("first", "previous")}
    for name, score in (("induction", induction_mass), ("same token", same_token_mass)):
        masses = score(patterns, tokens)
        found[name] = (masses.values * masses.counts[:, None]).sum(0) / masses.counts.sum()
    flat = [side.flatten(1, 2) for side in (queries, keys)]
    group, position = topics.repeat_interleave(LENGTH), torch.arange(LENGTH).repeat(TEXTS)
    found["topic"], found["spiral"] = (
        torch.stack(each).amin(0)
        for each in (
            [cluster_score(side, group).values for side in flat],
            [position_spiral(side, position).score for side in flat],
        )
    )
    return found | {"long keys": -norm_gap(*flat), "sink": found.pop("first")}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_planted_head_comes_first_in_its_own_score(seed):
    tokens, topics = corpus(seed)
    found = all_scores(tokens, topics, *heads(tokens, topics, seed))
    assert set(found) == set(PLANTED)
    for number, name in enumerate(PLANTED):
        score = found[name]
        assert int(score.argmax()) == number, name
        second, spread = float(score.sort().values[-2]), float(score[len(PLANTED) :].std())
        assert float(score[number]) - second > 5 * spread, name  # and not by a hair
        assert float(score[len(PLANTED) :].max()) < 0.5 * float(score[number]), name


def test_no_head_stands_out_where_nothing_is_planted():
    tokens, topics = corpus(0)
    queries, keys = heads(tokens, topics, 0)
    found = all_scores(tokens, topics, queries[len(PLANTED) :], keys[len(PLANTED) :])
    for name in ("topic", "spiral"):
        assert found[name].abs().max() < 0.02, name
    for name in ("sink", "previous", "induction", "same token"):
        assert found[name].std() < 0.1, name
