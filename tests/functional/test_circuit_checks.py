"""Completeness and minimality of gates whose answers are known without a model."""

import pytest
import torch

from workbench import BadInput
from workbench.functional import completeness, minimality, random_knockouts

EXISTS = torch.ones(3, 2, dtype=torch.bool)


def measured(rule):
    """A measure of a rule of one circuit's edges; it keeps count of how many it was given at a time."""
    sizes = []

    def measure(circuits):
        sizes.append(len(circuits))
        return torch.tensor([float(rule(circuit)) for circuit in circuits])

    return measure, sizes


def kept(*edges):
    chosen = torch.zeros(3, 2, dtype=torch.bool)
    for edge in edges:
        chosen[edge] = True
    return chosen


def test_a_circuit_that_lacks_a_backup_is_not_complete():
    measure, _ = measured(lambda c: c[0, 0] | c[1, 0])  # either edge will do
    out = torch.stack([kept((0, 0)), kept((1, 0)), kept((0, 0), (1, 0)), kept()])
    part = completeness(measure, kept((0, 0)), EXISTS, out)
    assert part.circuit.tolist() == [0, 1, 0, 1]
    assert part.model.tolist() == [1, 1, 0, 1]
    assert part.gap.tolist() == [1, 0, 0, 0]
    assert completeness(measure, kept((0, 0), (1, 0)), EXISTS, out).gap.tolist() == [0, 0, 0, 0]


def test_each_edge_of_a_minimal_circuit_matters():
    measure, sizes = measured(lambda c: 2 * (c[0, 0] & c[1, 1]) + 0.5 * c[2, 0])
    edges, drop = minimality(measure, kept((0, 0), (1, 1), (2, 0), (2, 1)), at_once=3)
    assert dict(zip(map(tuple, edges.tolist()), drop.tolist(), strict=True)) == {
        (0, 0): 2.0,
        (1, 1): 2.0,
        (2, 0): 0.5,
        (2, 1): 0.0,
    }
    assert sizes == [1, 3, 1]
    edges, drop = minimality(measure, kept())
    assert len(edges) == len(drop) == 0


def test_backups_look_superfluous_one_by_one():
    measure, _ = measured(lambda c: c[0, 0] | c[1, 0])
    assert minimality(measure, kept((0, 0), (1, 0)))[1].tolist() == [0, 0]


def test_random_knockouts_take_whole_sources_of_the_circuit():
    circuit = kept((0, 0), (2, 1))
    out = random_knockouts(circuit, 400, share=0.25, seed=3)
    assert out.shape == (400, 3, 2)
    assert torch.equal(out.any(-1), out.all(-1))
    assert not out[:, 1].any()
    assert out[:, 0, 0].float().mean().item() == pytest.approx(0.25, abs=0.07)
    assert torch.equal(out, random_knockouts(circuit, 400, share=0.25, seed=3))
    assert not torch.equal(out, random_knockouts(circuit, 400, share=0.25, seed=4))


def test_measures_and_numbers_that_do_not_fit():
    with pytest.raises(BadInput, match="one number for each of 1 circuits"):
        minimality(lambda c: torch.ones(len(c), 2), kept((0, 0)))
    with pytest.raises(BadInput, match="At least one circuit"):
        minimality(lambda c: torch.ones(len(c)), kept((0, 0)), at_once=0)
    with pytest.raises(BadInput, match="share from 0 to 1"):
        random_knockouts(kept(), 3, share=1.5)
