"""Filters of waves: an explicit null space of scipy's, projector identities, a planted wave, what leaves nothing."""

import math
from collections import Counter

import numpy as np
import pytest
import scipy.linalg
import torch

from workbench.errors import BadInput
from workbench.functional import (
    addition_paper_basis,
    band_pass,
    band_stop,
    component_stop,
    fourier_basis,
    high_pass,
    low_pass,
    random_band,
    random_subspace,
    subspace_filter,
)

N, D = 20, 24


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(n):
    return fourier_basis(n, dtype=torch.float64)


def waves(n, frequencies):
    """Rows of cos and sin, by hand; the constraint B F of some frequencies up to the length of its rows."""
    x = np.arange(n)
    rows = [f(2 * np.pi * k * x / n) for k in frequencies for f in (np.cos, np.sin)]
    return np.array([row for row in rows if np.abs(row).max() > 1e-9]).reshape(-1, n)


@pytest.mark.parametrize(
    ("n", "d", "frequencies"),
    [
        (20, 24, (1, 2, 3)),
        (20, 24, (0, 10)),
        (17, 24, (2, 5, 8)),
        (19, 12, (3, 4)),
        (40, 24, (1, 2, 20)),
        (2, 5, (1,)),
        (1, 5, (0,)),
    ],
)
def test_it_is_the_projector_on_the_null_space_that_scipy_finds(n, d, frequencies):
    unembedding = noise(n, d)
    constraint = waves(n, frequencies) @ unembedding.numpy()
    null = scipy.linalg.null_space(constraint)
    filtered = band_stop(unembedding, exact(n), frequencies)
    assert (filtered.rank, filtered.left, filtered.constraints) == (len(constraint), null.shape[1], len(constraint))
    projector = filtered.kept(torch.eye(d, dtype=torch.float64))
    np.testing.assert_allclose(projector, null @ null.T, rtol=0, atol=1e-12)
    for off in (projector @ projector - projector, projector - projector.T, torch.from_numpy(constraint) @ projector):
        assert off.abs().max() < 1e-12
    assert torch.linalg.matrix_rank(projector) == d - len(constraint)


def test_what_is_kept_is_the_nearest_that_meets_the_constraint():
    """Against the least-squares solution with Lagrange multipliers, for each of several vectors."""
    unembedding, x = noise(N, D), noise(3, 4, D, seed=1)
    constraint = torch.from_numpy(waves(N, (1, 2, 7))) @ unembedding
    system = torch.zeros(D + 6, D + 6, dtype=torch.float64)
    system[:D, :D], system[D:, :D], system[:D, D:] = torch.eye(D), constraint, constraint.T
    nearest = torch.linalg.solve(system, torch.cat([x, x.new_zeros(3, 4, 6)], -1)[..., None])[..., :D, 0]
    torch.testing.assert_close(band_stop(unembedding, exact(N), (1, 2, 7)).kept(x), nearest, rtol=0, atol=1e-12)


def test_the_logits_have_none_of_the_removed_waves_and_all_of_the_whole():
    unembedding, x = noise(N, D), noise(50, D, seed=1)
    filtered = high_pass(unembedding, exact(N), 4)
    power = np.abs(np.fft.rfft((filtered.kept(x) @ unembedding.T).numpy(), axis=-1))
    assert power[:, 1:5].max() < 1e-12 * power.max()
    assert power[:, [0, 5, 6, 7, 8, 9, 10]].min(0).min() > 1e-3
    torch.testing.assert_close(filtered.kept(x) + filtered.removed(x), x, rtol=0, atol=1e-14)
    torch.testing.assert_close(
        (filtered.kept(x) * filtered.removed(x)).sum(-1), torch.zeros(50, dtype=torch.float64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("n", [19, 20])
def test_bands_remove_what_their_names_say(n):
    unembedding, basis = noise(n, 30), exact(n)
    last = n // 2
    expected = {
        low_pass: range(5, last + 1),
        high_pass: range(1, 5),
        lambda w, b, k: band_pass(w, b, (k,)): [i for i in range(1, last + 1) if i != 4],
    }
    for make, removed in expected.items():
        same = subspace_filter(torch.from_numpy(waves(n, removed)) @ unembedding)
        x = noise(6, 30, seed=2)
        torch.testing.assert_close(make(unembedding, basis, 4).kept(x), same.kept(x), rtol=0, atol=1e-12)


def test_the_wave_of_52_cycles_over_520_numbers_is_taken_by_its_band_alone():
    """A site that writes cos(2 pi 52 x / 520) into the logits: gone without frequency 52, untouched without others."""
    n, d = 520, 540
    unembedding = torch.linalg.qr(noise(d, n)).Q.T
    wave = torch.cos(2 * math.pi * 52 * torch.arange(n, dtype=torch.float64) / n)
    x = wave @ unembedding
    assert band_stop(unembedding, exact(n), [52]).kept(x).norm() < 1e-12 * x.norm()
    for filtered in (high_pass(unembedding, exact(n), 50), band_stop(unembedding, exact(n), [51, 53, 260])):
        torch.testing.assert_close(filtered.kept(x) @ unembedding.T, wave, rtol=0, atol=1e-12)
    assert high_pass(unembedding, exact(n), 50).rank == 100
    assert low_pass(unembedding, exact(n), 50).kept(x).norm() < 1e-12 * x.norm()


def test_nothing_removed_is_the_identity_and_everything_is_zero():
    x = noise(3, D)
    unembedding = noise(N, D)
    assert torch.equal(band_stop(unembedding, exact(N), []).kept(x), x)
    assert torch.equal(low_pass(unembedding, exact(N), 10).kept(x), x)
    assert torch.equal(high_pass(unembedding, exact(N), 0).kept(x), x)
    assert torch.equal(subspace_filter(noise(40, D)).kept(x), torch.zeros_like(x))
    wide = noise(30, D)  # more values than dimensions: all components of the values are all dimensions
    everything = band_stop(wide, exact(30), range(16))
    assert (everything.constraints, everything.rank, everything.left) == (30, D, 0)
    assert torch.equal(everything.kept(x), torch.zeros_like(x))
    logits = band_stop(unembedding, exact(N), range(11)).kept(x) @ unembedding.T  # fewer values than dimensions
    assert logits.abs().max() < 1e-12


def test_equations_that_depend_on_each_other_count_once():
    thin = noise(N, 3) @ noise(3, D, seed=1)  # only three dimensions are read
    filtered = band_stop(thin, exact(N), range(1, 8))
    assert (filtered.constraints, filtered.rank) == (14, 3)
    assert band_stop(torch.zeros(N, D), exact(N), [1]).rank == 0
    rounded = band_stop(thin.float(), exact(N), range(1, 8))
    assert rounded.rank == 3, "what rounding to float32 adds is no direction"
    assert subspace_filter(torch.diag(torch.tensor([1.0, 1e-3])), tolerance=1e-2).rank == 1
    twice = component_stop(noise(N, D), exact(N), [1, 1, 2])
    assert (twice.constraints, twice.rank) == (2, 2)


def test_the_papers_own_waves_are_filtered_by_the_rank_they_have():
    """Cut at tau = 50: components 1 to 99 of the 521. All of them span the rank of the basis, 520, and not 521."""
    unembedding, basis = noise(521, 560), addition_paper_basis(dtype=torch.float64)
    low = component_stop(unembedding, basis, range(1, 100))
    assert low.rank == 99
    residual = (basis.matrix[1:100] @ unembedding @ low.kept(noise(560))).abs().max()
    assert residual < 1e-11
    assert component_stop(unembedding, basis, range(521)).rank == 520


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_other_types_are_kept_and_computed_precisely(dtype):
    x = noise(5, D).to(dtype)
    filtered = high_pass(noise(N, D), exact(N), 3)
    expected = filtered.kept(x.double()).to(dtype)
    assert filtered.kept(x).dtype == dtype
    torch.testing.assert_close(filtered.kept(x), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_random_subspaces_are_even_over_all_directions():
    """The mean projector is rank / d times the identity, and the squared share of one direction a Beta variable."""
    draws = torch.Generator().manual_seed(0)
    rank, d, times = 3, 6, 600
    shares, mean = [], torch.zeros(d, d, dtype=torch.float64)
    for _ in range(times):
        drawn = random_subspace(rank, d, draws, dtype=torch.float64)
        gram = drawn.rows @ drawn.rows.T
        assert (gram - torch.eye(rank)).abs().max() < 1e-12
        projector = drawn.rows.T @ drawn.rows
        mean += projector / times
        shares.append(projector[0, 0].item())
    assert (mean - torch.eye(d) * rank / d).abs().max() < 0.06
    assert scipy.stats.kstest(shares, scipy.stats.beta(rank / 2, (d - rank) / 2).cdf).pvalue > 0.01
    again = random_subspace(4, 9, torch.Generator().manual_seed(7))
    assert torch.equal(again.rows, random_subspace(4, 9, torch.Generator().manual_seed(7)).rows)
    assert random_subspace(0, 9, draws).rank == 0
    assert random_subspace(9, 9, draws).left == 0


@pytest.mark.parametrize(("n", "count"), [(20, 8), (20, 7), (21, 8), (21, 20), (20, 19), (21, 7), (20, 0)])
def test_random_bands_have_as_many_components_of_whole_frequencies(n, count):
    basis, draws = exact(n), torch.Generator().manual_seed(0)
    seen = Counter()
    for _ in range(300):
        components = random_band(basis, count, draws)
        assert len(components) == len(set(components)) == count
        assert 0 not in components
        frequencies = Counter(basis.frequencies[list(components)].tolist())
        halves = [k for k, times in frequencies.items() if times == 1 and 2 * k != n]
        assert len(halves) == (count % 2 if n % 2 else 0)
        seen.update(frequencies.keys())
    pairs = [seen[k] for k in range(1, (n + 1) // 2)]
    assert max(pairs) - min(pairs) < 110, "every frequency is drawn about as often"
    if n % 2 == 0:
        assert seen[n // 2] == (300 if count % 2 else 0)


def test_what_cannot_be_filtered_is_a_sentence(as_installed):
    unembedding, basis, draws = noise(N, D), exact(N), torch.Generator()
    for wrong, says in (
        (lambda: band_stop(unembedding, basis, [11]), "no frequency 11"),
        (lambda: band_pass(unembedding, basis, [-1]), "no frequency -1"),
        (lambda: low_pass(unembedding, basis, 11), "cut at 11"),
        (lambda: high_pass(unembedding, basis, 2.5), "whole number"),
        (lambda: band_stop(unembedding[1:], basis, [1]), "rows for 19"),
        (lambda: component_stop(unembedding, basis, [N]), "no component 20"),
        (lambda: subspace_filter(torch.full((2, 3), math.nan)), "NaN"),
        (lambda: subspace_filter(torch.zeros(3)), "axes"),
        (lambda: random_band(basis, 20, draws), "0 to 19 components"),
        (lambda: random_subspace(5, 4, draws), "rank from 0 to 4"),
        (lambda: low_pass(unembedding, basis, 2).kept(noise(3, 5)), "24 dimensions"),
    ):
        with pytest.raises(BadInput, match=says):
            wrong()
