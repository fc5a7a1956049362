"""Position spirals: exact on planted ones, nothing on lines, arcs and noise, and each part alone can refuse."""

import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import cluster_score, position_spiral


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(curve, per_position=6, d=8, spread=0.0, seed=0):
    """Vectors at the points of a curve (position, dim), in a random orthonormal frame of d dimensions, shuffled."""
    frame = torch.linalg.qr(noise(d, d, seed=seed + 1))[0][:, : curve.shape[1]]
    positions = torch.arange(len(curve)).repeat_interleave(per_position)
    vectors = (curve @ frame.T)[positions] + 5 + spread * noise(len(positions), d, seed=seed)
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(seed))
    return vectors[order], positions[order]


def wound(n, step, radius: float | torch.Tensor = 1.0):
    """Positions `step` turns apart on a circle or, with radii, on a spiral."""
    angle = 2 * math.pi * step * torch.arange(n, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], -1) * torch.as_tensor(radius)


@pytest.mark.parametrize(("n", "step"), [(24, 1 / 12), (20, 2 / 5), (20, -1 / 5), (30, 1 / 10)])
def test_a_circle_of_whole_turns_is_exactly_one(n, step):
    found = position_spiral(*planted(wound(n, step)))
    for part in ("score", "explained", "planar", "round", "steady"):
        assert getattr(found, part).item() == pytest.approx(1.0, abs=1e-9), part
    assert found.turns.item() == pytest.approx((n - 1) * abs(step), abs=1e-9)
    assert (found.positions, found.points, found.left_out) == (n, 6 * n, 0)


def test_a_spiral_that_grows_counts_its_turns():
    n = 60
    found = position_spiral(*planted(wound(n, 1 / 12, torch.linspace(1, 2, n, dtype=torch.float64)[:, None])))
    assert found.turns.item() == pytest.approx(59 / 12, abs=0.1)  # around the mean, which is not quite the centre
    assert found.score.item() > 0.9


@pytest.mark.parametrize(
    "curve",
    [
        torch.arange(30, dtype=torch.float64)[:, None],
        torch.arange(30, dtype=torch.float64)[:, None] * torch.tensor([[1.0, 2.0, 3.0]]).double(),
        torch.tensor([0.0, 1.0] * 15, dtype=torch.float64)[:, None],
        wound(30, 1 / 120),  # a quarter of a circle
        noise(30, 8),
        torch.eye(30, dtype=torch.float64)[:, :1],  # the first position unlike all others
    ],
    ids=["line", "line in space", "to and fro", "arc", "random means", "first alone"],
)
def test_what_does_not_wind_scores_low(curve):
    found = position_spiral(*planted(curve))
    assert found.explained.item() > 0.95
    assert found.score.item() < 0.12


def test_random_vectors_score_nothing():
    positions = torch.arange(30).repeat_interleave(6)
    found = position_spiral(noise(50, 180, 16), positions)
    assert found.explained.abs().max() < 0.05
    assert found.score.max() < 0.01
    assert (found.score[found.explained < 0] == 0).sum() > 10


def test_positions_in_another_order_score_low():
    vectors, positions = planted(wound(24, 1 / 12))
    scores = []
    for seed in range(20):
        order = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
        scores.append(position_spiral(vectors, order[positions]).score.item())
    assert max(scores) < 0.5
    assert sum(scores) / 20 < 0.25


def slowly(vectors, positions):
    """The same numbers from means, angles and areas one position at a time, in a plane from numpy."""
    import numpy as np

    means = np.stack(
        [vectors[positions == p].mean(0).numpy() for p in positions.unique().tolist() if sum(positions == p) > 1]
    )
    means = means - means.mean(0)
    values, directions = np.linalg.eigh(means.T @ means)
    flat = means @ directions[:, -2:]
    turns, net, gross = 0.0, 0.0, 0.0
    for (a, b), (c, d) in zip(flat, flat[1:], strict=False):
        step = math.atan2(d, c) - math.atan2(b, a)
        turns += (step + math.pi) % (2 * math.pi) - math.pi
        area = (a * d - b * c) / 2
        net, gross = net + area, gross + abs(area)
    large, small = values[-1], values[-2]
    parts = {"planar": (large + small) / values.sum(), "round": 2 * small / (large + small)}
    return parts | {"turns": abs(turns) / (2 * math.pi), "steady": abs(net) / gross}


def test_agrees_with_angles_and_areas_one_by_one():
    clouds = [planted(wound(25, 1 / 9), spread=0.4, seed=seed) for seed in range(4)]
    clouds += [planted(noise(25, 3, seed=9), spread=0.4, seed=5)]
    clouds = [(vectors[:-40], positions[:-40]) for vectors, positions in clouds]  # no longer as many at each position
    for vectors, positions in clouds:
        found, expected = position_spiral(vectors, positions, fewest=2), slowly(vectors, positions)
        for part, value in expected.items():
            assert getattr(found, part).item() == pytest.approx(value, rel=1e-9), part
        explained = cluster_score(vectors, positions).values.item()
        product = explained * expected["planar"] * expected["round"] * expected["steady"] * min(1, expected["turns"])
        assert found.score.item() == pytest.approx(product, rel=1e-9)


def test_a_turn_and_a_half_back_is_not_steady():
    there = wound(18, 1 / 12)
    found = position_spiral(*planted(torch.cat([there, there.flip(0)])))
    assert found.turns.item() == pytest.approx(0.0, abs=0.05)
    assert found.score.item() < 0.05


def test_a_curve_in_many_planes_is_not_planar():
    planes = torch.cat([wound(24, k / 24) for k in (1, 2, 3, 4)], -1)
    found = position_spiral(*planted(planes))
    assert found.planar.item() == pytest.approx(1 / 4, abs=1e-6)
    assert found.score.item() < 0.26


def test_rare_positions_and_marked_ones_are_left_out_and_counted():
    vectors, positions = planted(wound(24, 1 / 12))
    odd = torch.cat([vectors, 100 + noise(14, 8)])
    places = torch.cat([positions, torch.tensor([40] * 4 + [-1] * 10)])
    found = position_spiral(odd, places)
    assert found.score.item() == pytest.approx(1.0, abs=1e-9)
    assert (found.positions, found.points, found.left_out) == (24, 144, 14)
    assert position_spiral(odd, places, fewest=4).positions == 25
    assert position_spiral(odd, places, fewest=4).score.item() < 0.5


def test_too_few_positions_say_nothing():
    vectors, positions = planted(wound(3, 1 / 3))
    found = position_spiral(torch.stack([vectors, vectors]), positions)
    for part in ("score", "explained", "planar", "round", "turns", "steady"):
        assert getattr(found, part).isnan().all(), part
    assert found.positions == 3
    assert position_spiral(vectors, torch.full_like(positions, -1)).positions == 0


def test_heads_go_side_by_side_in_any_type():
    vectors, positions = planted(wound(24, 1 / 12), spread=0.2)
    line, _ = planted(torch.arange(24, dtype=torch.float64)[:, None], spread=0.2)
    heads = torch.stack([vectors, line, torch.ones_like(line)])[None]
    together = position_spiral(heads, positions)
    assert together.score.shape == (1, 3)
    assert together.score[0, 0].item() == pytest.approx(position_spiral(vectors, positions).score.item(), rel=1e-9)
    for part in ("score", "explained", "planar", "round", "turns", "steady"):
        assert getattr(together, part)[0, 2].isnan(), part
    half = position_spiral(heads.half(), positions)
    assert half.score.dtype == torch.float32
    assert half.score[0, 0].item() == pytest.approx(together.score[0, 0].item(), abs=0.01)
    flat = position_spiral(vectors[:, :1], positions)
    assert flat.score.item() == flat.round.item() == 0.0


def test_bad_input_is_a_sentence(as_installed):
    vectors, positions = planted(wound(24, 1 / 12))
    with pytest.raises(BadInput, match="144 vectors and 143 positions"):
        position_spiral(vectors, positions[1:])
    with pytest.raises(BadInput, match="fewest=1"):
        position_spiral(vectors, positions, fewest=1)
    with pytest.raises(BadInput, match="1 of 144 vectors hold NaN"):
        position_spiral(vectors.index_fill(0, torch.tensor([3]), torch.nan), positions)
    with pytest.raises(BadInput, match=r"Vectors have the axes \(\*, point, d\)"):
        position_spiral(vectors[:, 0], positions)
    with pytest.raises(BadInput, match=r"Positions have the axes \(point\)"):
        position_spiral(vectors, positions[:, None])
    with pytest.raises(BadInput, match="Positions are whole numbers"):
        position_spiral(vectors, positions / 2)
    with pytest.raises(BadInput, match="fewest is a whole number"):
        position_spiral(vectors, positions, fewest=5.0)
