"""Completeness and minimality of circuits of the model that ships."""

from functools import cache

import pytest
import torch

import workbench
from workbench import functional, tasks
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import edge_scores, runs
from workbench.circuits.measuring import measure_of
from workbench.circuits.split import split


@cache
def known():
    """Wiring, task, and the eight edges that copy: values into four heads, and what they answer."""
    wiring = split(workbench.load("micro"))
    task = tasks.task("induction", wiring.model, examples=24)
    scores = edge_scores(wiring, task.pairs(wiring.model), task.metric)
    return wiring, task, functional.greedy_edges(scores, wiring.graph.exists, wiring.graph.feeds, 8)


def plainly(kept):
    wiring, task, _ = known()
    values = [
        one.measure(task.metric)(run_circuit(wiring, one.clean, one.other, kept))
        for one in runs(wiring, task.pairs(wiring.model))
    ]
    return torch.cat(values).mean().item()


def test_every_edge_of_the_circuit_matters():
    wiring, task, kept = known()
    edges, drops = functional.minimality(measure_of(wiring, task), kept, at_once=3)
    assert len(edges) == 8
    assert (drops > 0.5).all()
    source, slot = edges[2].tolist()
    without = kept.clone()
    without[source, slot] = False
    assert drops[2].item() == pytest.approx(plainly(kept) - plainly(without), abs=1e-4)
    halves = drops[:4].sort().values, drops[4:].sort().values  # an edge into a head, and the one out of it
    assert torch.allclose(*halves, atol=1e-4)


def test_the_circuit_is_more_complete_than_half_of_it():
    wiring, task, kept = known()
    measure = measure_of(wiring, task)
    out = functional.random_knockouts(kept, 4, seed=1)
    whole = functional.completeness(measure, kept, wiring.graph.exists, out)
    assert whole.model[1].item() == pytest.approx(plainly(wiring.graph.exists & ~out[1]), abs=1e-4)
    assert whole.circuit[1].item() == pytest.approx(plainly(kept & ~out[1]), abs=1e-4)
    half = kept.clone()
    half[[wiring.graph.source_index(f"a1.h{head}") for head in (0, 1)]] = False
    part = functional.completeness(measure, half, wiring.graph.exists, out)
    assert part.gap.max() > 2 * whole.gap.max()
