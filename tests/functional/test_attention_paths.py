"""Paths of attention: their number, their order, and that all of them together are the layers one after another."""

import itertools
import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import path_counts, path_length_sums, path_outputs, sample_paths

LAYERS, HEADS, POS, D = 3, 2, 5, 4


def network(layers=LAYERS, heads=HEADS, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return normal(POS, D), normal(layers, heads, POS, POS).softmax(-1), normal(layers, heads, D, D) / D**0.5


def forward(states, patterns, maps, skip):
    for pattern, of_heads in zip(patterns, maps, strict=True):
        added = sum(p @ states @ w for p, w in zip(pattern, of_heads, strict=True))
        states = states + added if skip else added
    return states


def product(states, patterns, maps, path):
    """The paper's order, written out: patterns from the last layer on the left, maps to the right."""
    left, right = torch.eye(POS).double(), torch.eye(D).double()
    for layer, through in enumerate(path):
        if through:
            left, right = patterns[layer, through - 1] @ left, right @ maps[layer, through - 1]
    return left @ states @ right


@pytest.mark.parametrize("skip", [True, False])
def test_all_paths_together_are_the_layers_one_after_another(skip):
    states, patterns, maps = network()
    whole = forward(states, patterns, maps, skip)
    found = path_outputs(states, patterns, maps, skip=skip)
    assert found.exact and len(found.paths) == sum(found.counts)
    torch.testing.assert_close(found.outputs.sum(0), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(path_length_sums(states, patterns, maps, skip=skip).sum(0), whole, rtol=0, atol=1e-12)


def test_each_path_is_a_product_with_the_last_layer_leftmost():
    states, patterns, maps = network()
    found = path_outputs(states, patterns, maps)
    assert sorted(map(tuple, found.paths.tolist())) == sorted(itertools.product(range(HEADS + 1), repeat=LAYERS))
    for path, output in zip(found.paths.tolist(), found.outputs, strict=True):
        torch.testing.assert_close(output, product(states, patterns, maps, path), rtol=0, atol=1e-13)


@pytest.mark.parametrize("skip", [True, False])
def test_sums_of_each_length_are_those_of_its_paths(skip):
    states, patterns, maps = network()
    found, sums = path_outputs(states, patterns, maps, skip=skip), path_length_sums(states, patterns, maps, skip=skip)
    for length in range(LAYERS + 1):
        mine = found.lengths == length
        assert int(mine.sum()) == found.counts[length]
        torch.testing.assert_close(sums[length], found.outputs[mine].sum(0), rtol=0, atol=1e-12)


def test_how_many_paths_there_are():
    assert path_counts(3, 2) == (1, 6, 12, 8) and sum(path_counts(3, 2)) == 3**3
    assert path_counts(3, 2, skip=False) == (0, 0, 0, 8)
    assert path_counts(30, 9) == tuple(math.comb(30, k) * 9**k for k in range(31))


def test_drawn_paths_are_uniform_over_those_of_their_length():
    drawn = sample_paths(3, 2, [2], 12_000, seed=1)
    assert (drawn > 0).sum(-1).unique().tolist() == [2]
    seen = drawn.unique(dim=0, return_counts=True)[1]
    assert len(seen) == 12
    assert ((seen - 1000).square() / 1000).sum() < 31.3  # chi squared with 11 degrees of freedom, .999


def test_drawn_paths_estimate_the_sums_and_repeat_with_their_seed():
    states, patterns, maps = network()
    found = path_outputs(states, patterns, maps, lengths=[0, 2], n_samples=4000, seed=3, most=4)
    again = path_outputs(states, patterns, maps, lengths=[2, 0], n_samples=4000, seed=3, most=4)
    assert not found.exact and torch.equal(found.outputs, again.outputs) and found.counts == (1, 0, 12, 0)
    sums = path_length_sums(states, patterns, maps)
    assert torch.equal(found.outputs[found.lengths == 0].mean(0), states) or torch.allclose(
        found.outputs[found.lengths == 0].mean(0), states
    )
    estimate = found.outputs[found.lengths == 2].mean(0) * 12
    assert (estimate - sums[2]).abs().max() < 0.1 * sums[2].abs().max()
    other = path_outputs(states, patterns, maps, lengths=[2], n_samples=4000, seed=4, most=4)
    assert not torch.equal(other.paths, found.paths[found.lengths == 2])


def test_many_layers_need_no_enumeration():
    states, patterns, maps = network(layers=24, heads=3)
    sums = path_length_sums(states, patterns, maps)
    whole = forward(states, patterns, maps, skip=True)
    torch.testing.assert_close(sums.sum(0), whole, rtol=1e-10, atol=0)
    assert torch.equal(sums[0], states)


def test_what_is_refused(as_installed):
    states, patterns, maps = network()
    with pytest.raises(BadInput, match="length 4"):
        path_outputs(states, patterns, maps, lengths=[4])
    with pytest.raises(BadInput, match="length 1"):
        path_outputs(states, patterns, maps, lengths=[1], skip=False)
    with pytest.raises(BadInput, match="width 4"):
        path_length_sums(states, patterns[:2], maps)
    with pytest.raises(BadInput, match="layer, head"):
        path_length_sums(states, patterns[:0], maps[:0])
    with pytest.raises(BadInput, match="at least one layer"):
        path_counts(0, 2)
    with pytest.raises(BadInput, match="drawn"):
        path_outputs(states, patterns, maps, n_samples=0, most=1)
