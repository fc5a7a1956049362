"""Nearest keys and queries against a plain loop, with masks, with equal points and with too few of them."""

import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import nearest_keys, nearest_queries

BY = pytest.mark.parametrize("by", ["dot", "cosine", "euclidean"])


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def nearness(a, b, by):
    """Of two lists of numbers: large is near."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    if by == "dot":
        return dot
    if by == "euclidean":
        return -math.dist(a, b)
    norms = math.hypot(*a) * math.hypot(*b)
    return dot / norms if norms else 0.0


def by_loop(asking, asked, k, by, allowed=lambda i, j: True):
    """Indices and nearness of the k nearest of each; sorting in Python keeps equal ones in order."""
    rows = []
    for i, a in enumerate(asking.tolist()):
        near = [(j, nearness(a, b, by)) for j, b in enumerate(asked.tolist()) if allowed(i, j)]
        best = sorted(near, key=lambda pair: -pair[1])[:k]
        rows.append(best + [(-1, math.nan)] * (k - len(best)))
    return rows


def check(found, rows, by):
    assert found.indices.tolist() == [[j for j, _ in row] for row in rows]
    expected = torch.tensor(
        [[-near if by == "euclidean" else near for _, near in row] for row in rows], dtype=torch.float64
    )
    torch.testing.assert_close(found.values, expected, equal_nan=True, rtol=1e-12, atol=1e-12)


@BY
@pytest.mark.parametrize("k", [1, 4, 9, 12])
def test_agree_with_a_loop(by, k):
    queries, keys = 2 * drawn(3, 7, 5) + 1, drawn(3, 9, 5, seed=1)
    ours, theirs = nearest_keys(queries, keys, k, by), nearest_queries(queries, keys, k, by)
    assert ours.indices.shape == (3, 7, k) and theirs.values.shape == (3, 9, k)
    for head in range(3):
        one = nearest_keys(queries[head], keys[head], k, by)
        assert torch.equal(one.indices, ours.indices[head])
        check(one, by_loop(queries[head], keys[head], k, by), by)
        one = nearest_queries(queries[head], keys[head], k, by)
        assert torch.equal(one.indices, theirs.indices[head])
        check(one, by_loop(keys[head], queries[head], k, by), by)


def test_the_three_ways_differ():
    queries, keys = drawn(50, 4), 3 * drawn(80, 4, seed=1)
    found = {tuple(nearest_keys(queries, keys, 1, by).indices[:, 0].tolist()) for by in ("dot", "cosine", "euclidean")}
    assert len(found) == 3


@BY
def test_a_mask_says_which_keys_a_query_may_have(by):
    queries, keys = drawn(6, 3), drawn(6, 3, seed=1)
    causal = torch.ones(6, 6).tril().bool()
    check(nearest_keys(queries, keys, 3, by, mask=causal), by_loop(queries, keys, 3, by, lambda i, j: j <= i), by)
    check(nearest_queries(queries, keys, 3, by, mask=causal), by_loop(keys, queries, 3, by, lambda i, j: j >= i), by)
    some = torch.tensor([[True, False, True, False, False, True]])
    check(nearest_keys(queries, keys, 4, by, mask=some), by_loop(queries, keys, 4, by, lambda i, j: j in (0, 2, 5)), by)
    check(
        nearest_queries(queries, keys, 2, by, mask=some.mT),
        by_loop(keys, queries, 2, by, lambda i, j: j in (0, 2, 5)),
        by,
    )


@BY
def test_of_equally_near_ones_the_first_comes_first(by):
    places = drawn(3, 4)
    keys = places[[0, 1, 2, 1, 0, 2, 1, 0, 2] * 30]
    found = nearest_keys(places, keys, 7, by)
    assert found.indices.tolist() == [[j for j, _ in row] for row in by_loop(places, keys, 7, by)]
    if by != "dot":
        assert found.indices[1].tolist() == [1, 3, 6, 10, 12, 15, 19]
        assert (found.values == (0 if by == "euclidean" else found.values[:, :1])).all()


def test_zero_vectors_are_at_right_angles_to_all():
    queries, keys = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    found = nearest_keys(queries, keys, 3, "cosine")
    assert found.indices.tolist() == [[0, 1, 2], [2, 1, 0]]
    assert found.values.tolist() == [[0, 0, 0], [1, 0, -1]]


@BY
def test_blocks_and_types_change_nothing(by, monkeypatch):
    queries, keys = drawn(2, 30, 4).half(), drawn(2, 40, 4, seed=1).half()
    whole = nearest_keys(queries, keys, 5, by, mask=(drawn(30, 40) > 0))
    assert whole.values.dtype == torch.float32
    check(nearest_keys(queries[1].double(), keys[1].double(), 5, by), by_loop(queries[1], keys[1], 5, by), by)
    monkeypatch.setattr("workbench.functional.neighbours.BLOCK", 1)
    again = nearest_keys(queries, keys, 5, by, mask=(drawn(30, 40) > 0))
    assert torch.equal(whole.indices, again.indices)


@pytest.mark.parametrize(
    ("queries", "keys", "options", "says"),
    [
        (drawn(3, 4), drawn(3, 5), {}, "do not agree"),
        (drawn(4, 3, 4), drawn(2, 3, 4), {}, "repeat_kv"),
        (drawn(3, 4), drawn(4), {}, "do not agree"),
        (drawn(3, 4), drawn(0, 4), {}, "there is nothing"),
        (drawn(3, 4), drawn(3, 4), {"k": 0}, "one of the keys at least, not 0"),
        (drawn(3, 4), drawn(3, 4), {"by": "angle"}, "not 'angle'"),
        (drawn(3, 4), drawn(5, 4), {"mask": torch.ones(5, 3).bool()}, "does not fit 3 points by 5"),
        (drawn(3, 4), drawn(5, 4), {"mask": torch.ones(5).bool()}, "does not fit 3 points by 5"),
        (drawn(3, 4), drawn(5, 4), {"mask": torch.ones(3, 5)}, "true or false; this one is of type float32"),
        (drawn(3, 4), drawn(3, 4), {"k": 2.0}, "k is a whole number, not 2.0"),
        (drawn(3, 4), drawn(3, 4) / 0, {}, "3 of 3 queries or keys hold NaN or infinity"),
    ],
)
def test_what_cannot_be_asked_is_said(queries, keys, options, says, as_installed):
    with pytest.raises(BadInput, match=says):
        nearest_keys(queries, keys, **options)


@pytest.mark.parametrize("mask", [torch.ones(3, 5), torch.ones(5).bool()])
def test_what_is_no_mask_is_said_of_queries_too(mask, as_installed):
    with pytest.raises(BadInput, match="mask"):
        nearest_queries(drawn(3, 4), drawn(5, 4), mask=mask)


def test_cosines_of_very_long_and_very_short_vectors():
    queries, keys = drawn(3, 4).double(), drawn(5, 4, seed=1).double()
    expected = nearest_keys(queries, keys, 2, "cosine")
    found = nearest_keys(queries * 1e200, keys * 1e-200, 2, "cosine")
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.values, expected.values)
