"""One checkpoint of a history: whether it does the task, its circuits, and the smallest that is faithful enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import functional, tasks
from workbench.circuits.finding import Finder, Replace, found_scores, random_orders
from workbench.circuits.judging import Judged, circuits_of, judged, ordered_edges
from workbench.circuits.split import Wiring

NAN = float("nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """What is asked of every checkpoint."""

    method: Finder
    replace: Replace
    select: Literal["greedy", "top"]
    target: float
    most: float
    shares: tuple[float, ...]
    points: int
    seed: int
    anyway: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """What was found at one; the model is not held."""

    clean: float
    corrupted: float
    accuracy: float
    why_not: str
    """Why the model does not do the task; empty where it does."""
    curve: Float[Tensor, "size"]
    kept: Bool[Tensor, "source slot"]
    scores: Float[Tensor, "source slot"] | None = None
    size: int = 0
    reached: float = NAN
    random: float = NAN
    last_circuit: float = NAN
    last_metric: float = NAN


def measured(wiring: Wiring, task: tasks.Task, asked: Asked) -> Checkpoint:
    """All numbers of a checkpoint by itself; no circuit is looked for where it does not do the task."""
    graph, doing = wiring.graph, task.doing
    assert doing is not None  # tasks.task measures it
    empty = Checkpoint(
        clean=doing.clean,
        corrupted=doing.corrupted,
        accuracy=doing.accuracy,
        why_not=doing.why_not,
        curve=torch.full((len(asked.shares),), NAN),
        kept=torch.zeros_like(graph.exists),
    )
    if doing.why_not and not asked.anyway:
        return empty
    pairs = list(task.pairs(wiring.model))
    scores, order = found_scores(
        wiring, pairs, task.metric, asked.method, steps=asked.points, replace=asked.replace, seed=asked.seed
    )
    scores = scores.detach().float().cpu()
    order = ordered_edges(graph, scores, asked.select) if order is None else order.cpu()

    def values(sizes: Sequence[int], order: Tensor = order) -> list[float]:
        return run(wiring, task, circuits_of(graph, order, sizes), asked.replace).faithfulness.tolist()

    sizes = functional.circuit_sizes(asked.shares, graph.n_edges).tolist()
    curve = values(sizes)
    known = {size: value for size, value in zip(sizes, curve, strict=True) if size > 0}
    most = max(1, int(asked.most * graph.n_edges))
    size, tried = functional.smallest_size(values, most, asked.target, known=known)
    scored = replace(empty, scores=scores, curve=torch.tensor(curve))
    if size is None:
        return scored
    (by_chance,) = random_orders(graph, asked.select, 1, asked.seed)
    return replace(
        scored,
        size=size,
        kept=circuits_of(graph, order, [size])[0],
        reached=tried[size],
        random=values([size], by_chance)[0],
    )


def followed(wiring: Wiring, task: tasks.Task, kept: Bool[Tensor, "source slot"], asked: Asked) -> dict[str, float]:
    """What one circuit gives at a checkpoint: its metric, and its faithfulness where there is something to be true to.

    The gap of a model that does not do the task is noise, and so would be a share of it.
    """
    found = run(wiring, task, kept[None], asked.replace)
    does = asked.anyway or task.doing is None or not task.doing.why_not
    share = found.faithfulness.item() if does else NAN
    return {"last_metric": found.circuits.mean().item(), "last_circuit": share}


def run(wiring: Wiring, task: tasks.Task, kept: Bool[Tensor, "circuit source slot"], instead: Replace) -> Judged:
    """Some circuits on all examples of a task."""
    return judged(wiring, task.pairs(wiring.model), task.metric, kept, replace=instead)
