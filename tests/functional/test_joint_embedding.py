"""Joint embeddings of queries and keys: what must not change, closed forms, and correlations by a direct loop."""

import math

import pytest
import scipy.stats
import torch

from workbench.functional import joint_qk

DOUBLE = torch.float64


def drawn(*shape, seed=0, shift=0.0, dtype=DOUBLE):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE) + shift).to(dtype)


def head(n=30, d=6, seed=0, n_keys=None):
    """Queries and keys in clouds apart, of different sizes, that have something to do with each other."""
    queries = drawn(n, d, seed=seed, shift=1.0)
    keys = 4 * drawn(n_keys or n, d, seed=seed + 1, shift=-0.5)
    keys[: min(len(keys), n)] += 2 * queries[: min(len(keys), n)]
    return queries, keys


def by_loop(queries, keys, pairs, translation, scale):
    """The correlations, one pair after the other and scipy's: (stage, distance, statistic)."""
    found = torch.empty(3, 2, 2, dtype=DOUBLE)
    moves = ((0 * translation, 1.0), (translation, 1.0), (translation, scale))
    for s, (shift, c) in enumerate(moves):
        dots, distances = [], ([], [])
        for i, j in pairs:
            q, k = c * queries[i], (keys[j] + shift) / c
            dots.append(sum(a * b for a, b in zip(q.tolist(), k.tolist(), strict=True)))
            distances[0].append(1 - dots[-1] / (math.sqrt(q.square().sum()) * math.sqrt(k.square().sum())))
            distances[1].append(math.sqrt(sum((a - b) ** 2 for a, b in zip(q.tolist(), k.tolist(), strict=True))))
        for d in range(2):
            found[s, d, 0] = scipy.stats.spearmanr(distances[d], dots).statistic
            found[s, d, 1] = scipy.stats.pearsonr(distances[d], dots).statistic
    return found


def close(found, expected, **tolerance):
    torch.testing.assert_close(found, expected, **(tolerance or {"rtol": 0, "atol": 1e-12}))


@pytest.mark.parametrize("seed", range(3))
def test_softmax_does_not_see_the_alignment(seed):
    queries, keys = head(seed=seed)
    joint = joint_qk(queries, keys)
    assert joint.scale != 1
    pattern = (queries @ keys.mT / 6**0.5).softmax(-1)
    close((joint.queries @ joint.keys.mT / 6**0.5).softmax(-1), pattern)
    # moving queries instead is none of its symmetries
    assert ((queries + joint.translation) @ keys.mT / 6**0.5).softmax(-1).sub(pattern).abs().max() > 0.01


def test_correlations_are_those_of_a_direct_loop():
    queries, keys = head(12, n_keys=15)
    pairs = [(i, j) for i in range(12) for j in range(15) if (i + j) % 3]
    joint = joint_qk(queries, keys, torch.tensor(pairs))
    assert joint.n_pairs == len(pairs) and joint.dropped == 0
    close(joint.correlations, by_loop(queries, keys, pairs, joint.translation, joint.scale))
