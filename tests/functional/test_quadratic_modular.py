"""The analytic solution of modular addition: what it answers, how its noise shrinks, and that each neuron is a wave."""

import math

import numpy as np
import pytest
import torch

from workbench import functional
from workbench.errors import BadInput


def answers(weights):
    """f(a, b) for all pairs, (a, b, c), pair by pair."""
    left, right, out = (x.double().numpy() for x in (weights.left, weights.right, weights.out))
    p = left.shape[1]
    return np.array([[out @ (left[:, a] + right[:, b]) ** 2 for b in range(p)] for a in range(p)])


def right_answers(p):
    return (np.arange(p)[:, None] + np.arange(p)) % p


def test_every_sum_is_right_at_the_papers_size():
    found = answers(functional.quadratic_modular_weights(97, 500))
    assert (found.argmax(-1) == right_answers(97)).all()
    correct = np.take_along_axis(found, right_answers(97)[..., None], -1)
    assert correct.mean() == pytest.approx(1, abs=0.02)
    others = (found.sum() - correct.sum()) / (found.size - correct.size)
    assert others == pytest.approx(-1 / 96, abs=0.002)


def test_with_all_phases_there_is_no_noise():
    """The claim of the docstring without chance: the same neuron over a grid of phases, 1 and -1 / (p - 1) exactly."""
    p, steps = 5, 8
    phases = 2 * np.pi * np.arange(steps) / steps
    grid = [(s, u, v) for s in range(1, p) for u in phases for v in phases]
    amplitude = (2 / len(grid)) ** (1 / 3)
    value = 2 * np.pi * np.arange(p) / p
    left, right, out = (
        amplitude * np.array([np.cos(s * value + phase) for s, *both in grid for phase in [kind(*both)]])
        for kind in (lambda u, v: u, lambda u, v: v, lambda u, v: u + v)
    )
    hidden = (left[:, :, None] + right[:, None]) ** 2
    found = np.einsum("kc,kab->abc", out, hidden)
    ideal = np.where(right_answers(p)[..., None] == np.arange(p), 1, -1 / (p - 1))
    np.testing.assert_allclose(found, ideal, atol=1e-12)


def test_the_noise_shrinks_with_the_root_of_the_neurons():
    p, noise = 13, {}
    ideal = np.where(right_answers(p)[..., None] == np.arange(p), 1, -1 / (p - 1))
    for neurons in (120, 1920):  # whole multiples of the 12 frequencies
        found = [answers(functional.quadratic_modular_weights(p, neurons, seed=seed)) for seed in range(8)]
        noise[neurons] = np.sqrt(np.mean([(each - ideal) ** 2 for each in found]))
    assert noise[120] / noise[1920] == pytest.approx(4, rel=0.15)


def test_each_neuron_is_one_wave_whose_output_phase_is_the_sum():
    p, neurons = 11, 23
    weights = functional.quadratic_modular_weights(p, neurons, seed=3, dtype=torch.float64)
    phases = []
    for table in (weights.left, weights.right, weights.out.T):
        spectrum = np.fft.fft(table.numpy(), axis=-1)
        each = spectrum[np.arange(neurons), weights.frequencies.numpy()]
        assert np.abs(each) == pytest.approx((2 / neurons) ** (1 / 3) * p / 2)
        assert np.square(np.abs(spectrum)).sum(-1) == pytest.approx(2 * np.abs(each) ** 2)
        phases.append(np.angle(each))
    turned = (phases[0] + phases[1] - phases[2]) / (2 * math.pi)
    assert turned == pytest.approx(np.round(turned), abs=1e-9)
    assert weights.frequencies.tolist() == [*range(1, 11), *range(1, 11), 1, 2, 3]


def test_the_same_seed_gives_the_same_weights_in_the_dtype_asked_for():
    one, again, other = (functional.quadratic_modular_weights(7, 9, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.left, again.left)
    assert not torch.equal(one.left, other.left)
    assert one.out.dtype == torch.float32
    exact = functional.quadratic_modular_weights(7, 9, seed=1, dtype=torch.float64)
    assert torch.equal(exact.out.float(), one.out)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [((1, 5), "p is 2 or more"), ((7, 0), "neurons is 1 or more"), ((2.5, 3), "p is a whole number")],
)
@pytest.mark.usefixtures("as_installed")
def test_sizes_that_mean_nothing_are_refused(sizes, sentence):
    with pytest.raises(BadInput, match=sentence):
        functional.quadratic_modular_weights(*sizes)
