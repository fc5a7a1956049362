"""Massive coordinates: planted ones found, ordinary ones not, controls that are none, and what norms make of them."""

import statistics

import numpy as np
import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import (
    coefficient_of_variation,
    is_massive,
    largest_entries,
    median_size,
    next_largest,
    random_coordinates,
    set_coordinates,
)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(value, scale=1.0):
    states = gaussian(12, 64) * scale
    states[3, 7] = value
    return states


def test_random_states_have_none():
    assert not is_massive(gaussian(4, 12, 64)).any()


def test_exactly_what_was_planted_is_found():
    assert is_massive(planted(1000.0)).nonzero().tolist() == [[3, 7]]
    assert is_massive(planted(-1000.0)).nonzero().tolist() == [[3, 7]]
    assert not is_massive(planted(99.9, scale=0.01)).any()  # far above 1000 medians, but not above 100
    assert is_massive(planted(100.1, scale=0.01)).sum() == 1


def test_seven_hundred_and_fifty_medians_are_not_enough():
    sizes = gaussian(12, 65).abs()
    states = sizes * (0.2 / sizes.flatten().median())
    states[3, 7] = 150.0
    assert statistics.median_low(states.flatten().tolist()) == pytest.approx(0.2, rel=0.05)
    assert not is_massive(states).any()
    assert is_massive(states, ratio=700.0).nonzero().tolist() == [[3, 7]]


def test_each_state_is_compared_with_its_own_median():
    states = torch.stack([planted(150.0, scale=0.1), planted(150.0, scale=1.0)])
    assert is_massive(states).flatten(1).sum(1).tolist() == [1, 0]


def test_the_median_is_exact():
    for shape in ((1, 1), (3, 5), (4, 6)):
        states = gaussian(2, *shape)
        for one, found in zip(states, median_size(states), strict=True):
            assert found.item() == statistics.median_low(one.abs().flatten().tolist())


def test_the_largest_are_those_of_a_sorted_list():
    states = gaussian(2, 3, 5)
    found = largest_entries(states, 4)
    for i, state in enumerate(states.tolist()):
        every = sorted(((abs(x), x, p, d) for p, row in enumerate(state) for d, x in enumerate(row)), reverse=True)[:4]
        assert found.value[i].tolist() == [x for _, x, _, _ in every]
        assert found.position[i].tolist() == [p for *_, p, _ in every]
        assert found.dimension[i].tolist() == [d for *_, d in every]
        middle = statistics.median_low([abs(x) for row in state for x in row])
        np.testing.assert_allclose(found.ratio[i], [size / middle for size, *_ in every])
    assert largest_entries(torch.zeros(2, 2), 1).ratio.isnan().all()


def test_setting_what_is_there_already_changes_nothing():
    states = planted(1000.0)
    at = torch.tensor([[3, 7], [0, 1]])
    own = torch.stack([states[3, 7], states[0, 1]])
    assert torch.equal(set_coordinates(states, at, own), states)
    zeroed = set_coordinates(states, at, 0.0)
    assert torch.equal(set_coordinates(zeroed, at, 0.0), zeroed)
    assert (zeroed != states).nonzero().tolist() == [[0, 1], [3, 7]]
    assert states[3, 7] == 1000.0
    batch = set_coordinates(torch.stack([states, states]), at, 0.0)
    assert torch.equal(batch[1], zeroed)
    assert torch.equal(set_coordinates(states, at[:0], 0.0), states)


def test_controls_are_never_massive():
    states = planted(1000.0)
    mask = is_massive(states)
    drawn = random_coordinates(mask, 200, seed=1)
    assert len({tuple(place) for place in drawn.tolist()}) == 200
    assert not mask[drawn[:, 0], drawn[:, 1]].any()
    assert torch.equal(drawn, random_coordinates(mask, 200, seed=1))
    assert not torch.equal(drawn, random_coordinates(mask, 200, seed=2))
    few = torch.tensor([[True, False], [False, True]])
    assert sorted(random_coordinates(few, 2, seed=0).tolist()) == [[0, 1], [1, 0]]
    after = next_largest(states, mask, 3).tolist()
    every = sorted(((abs(x), [p, d]) for p, row in enumerate(states.tolist()) for d, x in enumerate(row)), reverse=True)
    assert after == [place for _, place in every[1:4]]


def test_coefficient_of_variation():
    values = gaussian(9, 2, 3) + 5
    expected = np.std(values.numpy(), axis=0, ddof=1) / np.abs(values.numpy().mean(0))
    np.testing.assert_allclose(coefficient_of_variation(values), expected)
    assert coefficient_of_variation(-values).sub(coefficient_of_variation(values)).abs().max() == 0
    assert coefficient_of_variation(values[:1]).isnan().all()
    assert coefficient_of_variation(torch.tensor([1.0, -1.0])).isnan()


def test_a_norm_makes_tokens_with_the_same_massive_coordinate_nearly_identical():
    d, at = 64, 7
    states = gaussian(5, d)
    off = torch.arange(d) != at
    for size in (1e3, 1e6):
        states[:, at] = -size
        normed = torch.nn.functional.rms_norm(states, (d,))
        between = torch.nn.functional.cosine_similarity(normed[:, None], normed[None], dim=-1)
        assert (1 - between).max() < 4 * d / size**2
        torch.testing.assert_close(normed[:, at], torch.full((5,), -(d**0.5), dtype=torch.float64), rtol=1e-3, atol=0)
        assert normed[:, off].abs().max() < 5 * d**0.5 / size


def test_half_precision_and_bad_input(as_installed):
    assert is_massive(planted(1000.0).half()).sum() == 1
    assert median_size(planted(1000.0).bfloat16()).dtype == torch.float32
    with pytest.raises(BadInput, match="no entries"):
        median_size(torch.zeros(0, 4))
    with pytest.raises(BadInput, match="no 5 largest"):
        largest_entries(torch.zeros(2, 2), 5)
    with pytest.raises(BadInput, match="cannot be drawn from 3"):
        random_coordinates(torch.tensor([[True, False], [False, False]]), 4, seed=0)
    with pytest.raises(BadInput, match="only 3 other"):
        next_largest(torch.zeros(2, 2), torch.tensor([[True, False], [False, False]]), 4)
    with pytest.raises(BadInput, match="true or false"):
        random_coordinates(torch.zeros(2, 2), 1, seed=0)
