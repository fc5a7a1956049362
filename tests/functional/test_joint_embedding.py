"""Joint embeddings of queries and keys: what must not change, closed forms, and correlations by a direct loop."""

import math

import pytest
import scipy.stats
import torch

from workbench.errors import BadInput, UnknownName
from workbench.functional import align, attention_pairs, joint_qk
from workbench.functional.joint_embedding import DISTANCES, STAGES, STATISTICS
from workbench.functional.pairs import some_of

DOUBLE = torch.float64


def drawn(*shape, seed=0, shift=0.0, dtype=DOUBLE):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE) + shift).to(dtype)


def head(n=30, d=6, seed=0, n_keys=None):
    """Queries and keys in clouds apart, of different sizes, that have something to do with each other."""
    queries = drawn(n, d, seed=seed, shift=1.0)
    keys = 4 * drawn(n_keys or n, d, seed=seed + 1, shift=-0.5)
    keys[: min(len(keys), n)] += 2 * queries[: min(len(keys), n)]
    return queries, keys


def weighted(x, y, weights):
    """Pearson's, every mean with weights."""
    share = torch.tensor(weights, dtype=DOUBLE) / sum(weights)
    x, y = (one - (share * one).sum() for one in (torch.as_tensor(x, dtype=DOUBLE), torch.as_tensor(y, dtype=DOUBLE)))
    return (share * x * y).sum() / ((share * x * x).sum() * (share * y * y).sum()).sqrt()


def by_loop(queries, keys, pairs, translation, scale, weights=None, scores=None):
    """The correlations, one pair after the other and by scipy or with weights: (stage, distance, statistic)."""
    found = torch.empty(3, 2, 2, dtype=DOUBLE)
    for s, (shift, c) in enumerate(((0 * translation, 1.0), (translation, 1.0), (translation, scale))):
        dots, distances = [], ([], [])
        for i, j in pairs:
            q, k = (c * queries[i]).tolist(), ((keys[j] + shift) / c).tolist()
            dots.append(sum(a * b for a, b in zip(q, k, strict=True)))
            distances[0].append(1 - dots[-1] / math.sqrt(sum(a * a for a in q)) / math.sqrt(sum(b * b for b in k)))
            distances[1].append(math.sqrt(sum((a - b) ** 2 for a, b in zip(q, k, strict=True))))
        target = dots if scores is None else scores
        for d, distance in enumerate(distances):
            if weights is None:
                found[s, d, 0] = scipy.stats.spearmanr(distance, target)[0]
                found[s, d, 1] = scipy.stats.pearsonr(distance, target)[0]
            else:
                ranks = (scipy.stats.rankdata(one) for one in (distance, target))
                found[s, d, 0] = weighted(*ranks, weights)
                found[s, d, 1] = weighted(distance, target, weights)
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


def test_scaling_changes_no_dot_product_and_translation_adds_the_same_to_all_of_a_query():
    queries, keys = head()
    joint = joint_qk(queries, keys)
    assert joint.scale != 1
    added = (queries @ joint.translation)[:, None]
    close(joint.queries @ joint.keys.mT, queries @ keys.mT + added)
    close(joint.queries @ joint.keys.mT, queries @ (keys + joint.translation).mT)
    for once, placed in zip(
        align(queries, keys, joint.translation, joint.scale), (joint.queries, joint.keys), strict=True
    ):
        close(once, placed)


def test_centroids_coincide_once_keys_are_translated():
    queries, keys = head(n_keys=50)
    joint = joint_qk(queries, keys)
    close(joint.queries.mean(-2) / joint.scale, joint.keys.mean(-2) * joint.scale)
    close(joint.translation, queries.mean(0) - keys.mean(0))


def test_untranslated_keys_stay_where_they_are():
    queries, keys = head(n_keys=50)
    joint = joint_qk(queries, keys + 3.0, translate=False)
    close(joint.translation, torch.zeros(queries.shape[-1], dtype=queries.dtype))
    close(joint.keys * joint.scale, keys + 3.0)
    close(joint.correlations[1], joint.correlations[0])
    moved = joint_qk(queries, keys + 3.0)
    close(moved.correlations[0], joint.correlations[0])
    assert not torch.allclose(moved.correlations[1], joint.correlations[1])


def test_on_unit_vectors_distance_is_the_dot_product_turned_around():
    queries, keys = (torch.nn.functional.normalize(drawn(40, 5, seed=seed), dim=-1) for seed in (0, 1))
    joint = joint_qk(queries, keys)
    close(joint.correlation("before", "cosine", "pearson"), torch.tensor(-1.0, dtype=DOUBLE))  # 1 - q.k
    close(joint.correlations[0, :, 0], torch.full((2,), -1.0, dtype=DOUBLE))
    squared, dots = torch.cdist(queries, keys).square().flatten(), (queries @ keys.mT).flatten()
    close(squared, 2 - 2 * dots)
    expected = scipy.stats.pearsonr(squared.clamp_min(0).sqrt().numpy(), dots.numpy())[0]
    assert joint.correlation("before", "euclidean", "pearson").item() == pytest.approx(expected, abs=1e-12)


def test_turning_queries_and_keys_together_changes_nothing():
    queries, keys = head()
    turn = torch.linalg.qr(drawn(6, 6, seed=5))[0]
    joint, turned = joint_qk(queries, keys), joint_qk(queries @ turn, keys @ turn)
    close(turned.correlations, joint.correlations)
    close(turned.scale, joint.scale)
    close(turned.queries, joint.queries @ turn)
    close(turned.keys, joint.keys @ turn)


def test_scale_of_queries_against_keys_is_taken_back():
    queries, keys = (x - x.mean(0) for x in head())  # nothing to translate, which does not stretch along
    joint, stretched = joint_qk(queries, keys), joint_qk(7 * queries, keys / 7)
    close(stretched.scale, joint.scale / 7)
    close(stretched.queries, joint.queries)


@pytest.mark.parametrize("weighted_too", [False, True])
def test_the_scale_never_makes_distance_tell_less(weighted_too):
    taken = 0
    for seed in range(40):
        queries, keys = head(15, 4, seed=3 * seed)
        keys[0] *= 1 + seed  # one that stands out, as a first token does
        weights = (queries @ keys.mT / 2).softmax(-1) if weighted_too else None
        joint = joint_qk(queries, keys, weights=weights)
        tables = [joint.correlations] if joint.weighted is None else [joint.correlations, joint.weighted]
        for table in tables:
            assert table[2, 1, 0] <= table[1, 1, 0] + 1e-12
            close(table[2, 0], table[1, 0])  # cosine distance does not see it
        if joint.scale == 1:
            assert torch.equal(joint.correlations[2], joint.correlations[1])
        taken += int(joint.scale != 1)
    assert 15 < taken < 40


@pytest.mark.parametrize("weighted_too", [False, True])
def test_the_scale_is_that_of_the_best_squared_distance(weighted_too):
    queries, keys = head(20)
    weights = drawn(20, 20, seed=9).mul(2).exp()
    joint = joint_qk(queries, keys, weights=weights if weighted_too else None)
    moved = keys + joint.translation
    dots, counts = (queries @ moved.mT).flatten(), (weights if weighted_too else torch.ones(20, 20)).flatten().tolist()

    def straightness(c):
        return weighted(torch.cdist(c * queries, moved / c).square().flatten(), dots, counts).item()

    best = min((10 ** (step / 500) for step in range(-300, 301)), key=straightness)
    assert straightness(best) < straightness(1.0) - 0.01
    assert joint.scale.item() == pytest.approx(best, rel=0.012)


@pytest.mark.parametrize("turned", [False, True])
def test_a_head_that_passes_on_what_it_reads_puts_query_and_key_of_a_token_together(turned):
    tokens = torch.eye(8, dtype=DOUBLE)  # W_Q = W_K = 1
    if turned:
        tokens = tokens @ torch.linalg.qr(drawn(8, 8))[0]  # dots of 0 are then rounding, and still share a rank
    joint = joint_qk(tokens, tokens)
    assert joint.translation.abs().max() < 1e-15 and joint.scale == 1
    close(joint.queries, joint.keys)
    close(joint.correlations, torch.full((3, 2, 2), -1.0, dtype=DOUBLE))


def test_keys_that_are_queries_moved_and_stretched_are_put_onto_them():
    queries = drawn(50, 6)
    queries -= queries.mean(0)
    keys = 9 * queries + 5
    joint = joint_qk(queries, keys)
    assert joint.scale.item() == pytest.approx(3)
    close(joint.queries, joint.keys)
    assert joint.correlation("aligned", "euclidean") < joint.correlation("translated", "euclidean") - 0.1


def test_correlations_are_those_of_a_direct_loop():
    queries, keys = head(12, n_keys=15)
    pairs = [(i, j) for i in range(12) for j in range(15) if (i + j) % 3]
    joint = joint_qk(queries, keys, torch.tensor(pairs))
    assert joint.n_pairs == len(pairs) and joint.dropped == 0
    close(joint.correlations, by_loop(queries, keys, pairs, joint.translation, joint.scale))
    for s, stage in enumerate(STAGES):
        for d, distance in enumerate(DISTANCES):
            for c, statistic in enumerate(STATISTICS):
                assert joint.correlation(stage, distance, statistic) == joint.correlations[s, d, c]
    assert joint.correlation() == joint.correlations[2, 0, 0]


def test_weights_count_pairs_and_choose_the_scale():
    queries, keys = head(12, n_keys=15)
    pairs = [(i, j) for i in range(12) for j in range(15)]
    weights = (queries @ keys.mT / 6**0.5).softmax(-1) + 0.01
    joint, plain = joint_qk(queries, keys, weights=weights), joint_qk(queries, keys)
    assert joint.weighted is not None and plain.weighted is None
    assert joint.scale != plain.scale
    close(joint.weighted, by_loop(queries, keys, pairs, joint.translation, joint.scale, weights.flatten().tolist()))
    close(joint.correlations, by_loop(queries, keys, pairs, joint.translation, joint.scale))
    even = joint_qk(queries, keys, weights=torch.full((12, 15), 3))
    assert even.weighted is not None
    close(even.weighted, plain.correlations)
    close(even.scale, plain.scale)


def test_a_weight_of_nothing_leaves_a_pair_out_of_pearson():
    queries, keys = head(10)
    some = torch.rand(10, 10, generator=torch.Generator().manual_seed(0)) < 0.5
    joint, fewer = joint_qk(queries, keys, weights=some.double()), joint_qk(queries, keys, some)
    assert joint.weighted is not None
    close(
        joint.weighted[..., 1], by_loop(queries, keys, some.nonzero().tolist(), joint.translation, joint.scale)[..., 1]
    )
    close(joint.weighted[:2, :, 1], fewer.correlations[:2, :, 1])


def test_scores_take_the_place_of_dot_products():
    queries, keys = head(12)
    pairs = attention_pairs(
        torch.zeros(12).long(), torch.arange(12), torch.zeros(12).long(), torch.arange(12), causal=True
    )
    scores = (queries @ keys.mT)[pairs[:, 0], pairs[:, 1]] - 3.0 * (pairs[:, 0] - pairs[:, 1])  # as ALiBi has it
    joint, plain = joint_qk(queries, keys, pairs, scores=scores), joint_qk(queries, keys, pairs)
    assert joint.of_scores is not None and plain.of_scores is None
    close(joint.correlations, plain.correlations)
    expected = by_loop(queries, keys, pairs.tolist(), joint.translation, joint.scale, scores=scores.tolist())
    close(joint.of_scores, expected)


def test_heads_of_a_batch_stay_apart():
    heads = [head(20, seed=seed, n_keys=25) for seed in range(0, 12, 2)]
    queries, keys = (torch.stack(both).unflatten(0, (2, 3)) for both in zip(*heads, strict=True))
    weights, scores = drawn(2, 3, 20, 25, seed=9).exp(), drawn(2, 3, 20, 25, seed=10)
    joint = joint_qk(queries, keys, weights=weights, scores=scores, max_pairs=200, seed=4)
    assert joint.correlations.shape == (2, 3, 3, 2, 2) and joint.dropped.shape == (2, 3) and joint.n_pairs == 200
    for i in range(2):
        for j in range(3):
            of = {"weights": weights[i, j], "scores": scores[i, j]}
            alone = joint_qk(queries[i, j], keys[i, j], **of, max_pairs=200, seed=4)
            for name in ("queries", "keys", "translation", "scale", "correlations", "weighted", "of_scores"):
                close(getattr(joint, name)[i, j], getattr(alone, name))
    assert len({scale.item() for scale in joint.scale.flatten()}) > 3


def test_more_pairs_than_asked_for_are_a_seeded_sample_with_their_weights():
    queries, keys = head(20)
    weights = drawn(20, 20, seed=3).exp()
    rows = some_of(400, 100, 7)
    expected = joint_qk(queries, keys, torch.stack([rows // 20, rows % 20], -1), weights=weights.flatten()[rows])
    every, all_rows = torch.ones(20, 20, dtype=torch.bool), torch.arange(400)
    for pairs, of in (
        (None, weights),
        (every, weights),
        (torch.stack([all_rows // 20, all_rows % 20], -1), weights.flatten()),
    ):
        found = joint_qk(queries, keys, pairs, weights=of, max_pairs=100, seed=7)
        assert found.n_pairs == 100 and found.weighted is not None
        close(found.weighted, expected.weighted)
    assert not torch.equal(joint_qk(queries, keys, max_pairs=100, seed=8).correlations, expected.correlations)


def test_half_precision_is_computed_in_single_and_double_stays():
    queries, keys = head(25)
    for dtype in (torch.float16, torch.bfloat16):
        half = joint_qk(queries.to(dtype), keys.to(dtype))
        single = joint_qk(queries.to(dtype).float(), keys.to(dtype).float())
        assert half.queries.dtype == half.keys.dtype == half.translation.dtype == half.scale.dtype == torch.float32
        assert half.correlations.dtype == DOUBLE
        close(half.queries, single.queries)
        close(half.correlations, single.correlations)
    assert joint_qk(queries, keys).keys.dtype == DOUBLE
    close(joint_qk(queries.float(), keys.float()).correlations, joint_qk(queries, keys).correlations, rtol=0, atol=1e-5)


def test_vectors_of_no_length_are_left_out_and_counted():
    queries, keys = head(9, 4)
    queries[2] = 0
    keys[5] = 0
    keys[7] = 0
    keys[7] = (keys.sum(0) - 9 * queries.mean(0)) / 8  # where translation puts it at zero
    joint = joint_qk(queries, keys)
    assert (keys[7] + joint.translation).abs().max() < 1e-12
    rest = [(i, j) for i in range(9) for j in range(9) if i != 2 and j not in (5, 7)]
    assert joint.n_pairs == 81 and joint.dropped == 81 - len(rest)
    close(joint.correlations, by_loop(queries, keys, rest, joint.translation, joint.scale))


@pytest.mark.parametrize("constant", ["queries", "keys", "both", "zero queries", "zero keys"])
def test_a_head_whose_vectors_are_all_alike_is_undefined_and_counted(constant):
    queries, keys = (torch.stack(both) for both in zip(head(), head(seed=4), strict=True))
    expected = joint_qk(queries[0], keys[0])
    value = 0.0 if "zero" in constant else 0.1
    if constant != "keys" and constant != "zero keys":
        queries[1] = value * torch.arange(6)
    if constant != "queries" and constant != "zero queries":
        keys[1] = value
    joint = joint_qk(queries.float(), keys.float(), weights=torch.ones(30, 30))
    assert joint.dropped.tolist() == [0, joint.n_pairs]
    assert joint.weighted is not None and joint.weighted[1].isnan().all()
    assert joint.correlations[1].isnan().all() and joint.scale[1] == 1
    assert joint.queries.isfinite().all() and joint.keys.isfinite().all()
    close(joint.correlations[0], expected.correlations, rtol=0, atol=1e-5)


def test_one_point_and_one_pair_say_nothing():
    queries, keys = head(4)
    for joint in (joint_qk(queries[:1], keys[:1]), joint_qk(queries, keys, torch.tensor([[1, 2]]))):
        assert joint.correlations.isnan().all() and joint.scale == 1 and joint.n_pairs == 1
    assert joint_qk(queries[:1], keys).dropped == 4  # one query is all alike


def test_what_cannot_be_aligned_is_said(as_installed):
    queries, keys = head(4)
    pairs = torch.tensor([[0, 1], [2, 3]])

    def refused(match, *given, **options):
        with pytest.raises(BadInput, match=match):
            joint_qk(*given, **options)

    refused("repeat_kv", torch.zeros(4, 5, 6), torch.zeros(2, 5, 6))
    refused("alike but for how many", queries, keys[:, :4])
    refused("alike but for how many", queries[0], keys)
    refused("nothing to align", queries[:0], keys)
    refused("NaN or infinity in 1 of the keys", queries, torch.where(keys == keys.max(), math.nan, keys))
    refused("4 queries and 4 keys; here: bool of shape .3, 4", queries, keys, torch.ones(3, 4, dtype=torch.bool))
    refused("whole numbers", queries, keys, pairs.double())
    refused("whole numbers", queries, keys, pairs[0])
    refused("not there: there are 4 queries and 4 keys", queries, keys, pairs + 1)
    refused("not there", queries, keys, pairs - 1)
    refused("no valid pair", queries, keys, torch.zeros(4, 4, dtype=torch.bool))
    refused("no valid pair", queries, keys, pairs[:0])
    refused(r"one for each listed pair, \(2,\), not \(3,\)", queries, keys, pairs, weights=torch.ones(3))
    refused(r"one for each query and key, \(4, 4\), not \(16,\)", queries, keys, weights=torch.ones(16))
    refused("scores are one for each query", queries, keys, scores=torch.ones(2, 4, 4))
    refused("finite and not negative", queries, keys, weights=-torch.ones(4, 4))
    refused("scores of pairs are finite", queries, keys, scores=torch.full((4, 4), -math.inf))
    refused("not 0", queries, keys, max_pairs=0)
    joint = joint_qk(queries, keys)
    for what in ("stage", "distance", "statistic"):
        with pytest.raises(UnknownName, match=what):
            joint.correlation(**{what: "nearest"})
