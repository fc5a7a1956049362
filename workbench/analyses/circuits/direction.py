"""Causal direction: a one-dimensional knob for a task, found on half of its pairs and tried on the other half."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, progress
from workbench.analyses.circuits.direction_held import held_on_neutral, held_on_pairs, held_values
from workbench.analyses.circuits.direction_result import CausalDirection
from workbench.analyses.circuits.direction_runs import (
    PairRuns,
    both_sides,
    exchanged,
    measured,
    run_pairs,
    sides_of,
)
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.models.lens_model import LensModel
from workbench.registry import Layer, Seed, TaskName, Within, analysis
from workbench.tasks import Task, task as task_of

Method = Literal["difference-of-means", "das", "random"]
_NO_GAP = 1e-6  # of the metrics' size: what rounding leaves


@analysis("causal-direction", needs={"text", "resid", "logits", "gradients"})
@torch.no_grad()
def causal_direction(
    model: LensModel,
    task: Annotated[TaskName, "Task whose clean and corrupted prompts the direction should tell apart"] = "induction",
    *,
    layer: Annotated[
        Layer | None, "Block after which the stream is taken; none: the best of all, on the first half"
    ] = None,
    method: Annotated[
        Method, "How the direction is found; das learns it, beginning at the difference of means"
    ] = "difference-of-means",
    steps: Annotated[int, Within(1, 2000), "Steps of das"] = 60,
    lr: Annotated[float, Within(1e-5, 1), "Length of a step of das"] = 0.02,
    draws: Annotated[int, Within(2, 50), "Random directions it is held against"] = 5,
    examples: Annotated[int, Within(4, 1000), "Pairs of prompts, half of them to find it, half to try it"] = 24,
    metric: Annotated[
        Literal["task", "logit-diff", "prob-diff", "log-prob", "kl"], "What is measured; task: the task's own"
    ] = "task",
    seed: Annotated[Seed, "Seed of the examples, the halves and the random directions"] = 0,
    anyway: Annotated[bool, "Whether to go on with a model that does not do the task"] = False,
) -> CausalDirection:
    """Whether one direction of the stream carries a task from prompt to prompt, and what holding it does.

    Where the answer is read, states of the two prompts of a pair are exchanged along the direction alone. Shares are
    of the gap between the means of the metric, on pairs that were not used to find it. The difference of means is
    between the two sides of the task: its two answers where there are two in all, else clean and corrupted prompts.
    das makes the exchange give the metric of the prompt it came from: squared distance, in units of the gap (where
    Geiger et al. take the cross-entropy of the partner's answer; corrupted prompts of some tasks have none). A scan of
    all layers uses the difference of means. Cost: 3 passes of all prompts from each layer that is tried on, and as many
    for a step of das.
    Geiger et al. (2023), Finding Alignments; Minder et al. (2024), Controllable Context Sensitivity and the Knob.
    """
    whole = task_of(task, model, examples=examples, seed=seed, metric=metric, anyway=anyway)
    names, positive = sides_of(model, whole)
    halves = _halves(whole, seed)
    train, test = (run_pairs(model, half, [positive[i] for i in numbers]) for half, numbers in halves)
    if min(map(len, (both_sides(train, 0)))) < 1 or min(map(len, both_sides(test, 0))) < 1:
        raise BadInput(f"All prompts of a half of {task!r} are on one side: take more examples, or another seed.")
    drawn = functional.random_directions(model.d_model, draws + 1, seed)
    spare = drawn[0] if method == "random" else None
    layers = range(model.n_blocks) if layer is None else (layer,)
    tried = [_tried(train, test, one, spare) for one in progress.track(layers, label="layers")]
    best = layers[int(torch.tensor([one[0] for one in tried]).nan_to_num(-torch.inf).argmax())]

    start = spare if spare is not None else _difference(train, best)
    if start is None:
        raise BadInput(
            f"After block {best} all prompts of {task!r} have the same state where the answer is read: there is no"
            " direction to find. Take a later layer."
        )
    directions = {method: start}
    losses = torch.zeros(0)
    if method == "das":
        found = _learned(train, best, start, steps, lr)
        losses = found.losses
        directions = {"das": _turned(found.basis[:, 0], train, best), "difference-of-means": start}
    directions |= {f"random {i}": one for i, one in enumerate(drawn[1:], 1)}
    direction = directions[method]
    effects, crossed = _effects(test, best, [*directions.values(), None])
    clean, corrupted = measured(test).mean(1).tolist()
    values = held_values(*both_sides(train, best), direction)
    kl = held_on_neutral(model, best, direction, values)
    return CausalDirection(
        task=whole.name,
        said=whole.said,
        metric=whole.metric,
        method=method,
        layer=best,
        direction=direction.cpu(),
        sides=names,
        train=len(halves[0][1]),
        pairs=len(halves[1][1]),
        clean=clean,
        corrupted=corrupted,
        counted=0 if effects.isnan().all() else len(halves[1][1]),
        exchanged=(*directions, "whole vector"),
        effects=effects,
        crossed=crossed,
        with_gap=int(_with_gap(test).sum()),
        separations=torch.tensor([*(_separation(test, best, one) for one in directions.values()), torch.nan]),
        projections=torch.stack(
            [torch.cat([_along(run.sides[side].states(best), direction) for run in test]) for side in (0, 1)]
        ).cpu(),
        positive=torch.cat([run.positive for run in test]).cpu(),
        layers=torch.tensor(layers),
        profile=torch.stack([one[1] for one in tried]),
        profile_separation=torch.tensor([one[2] for one in tried]),
        values=values.cpu(),
        steered=held_on_pairs(test, best, direction, values).cpu(),
        kl=torch.full((len(values),), torch.nan) if not len(kl) else kl.mean(0).cpu(),
        neutral=len(kl),
        losses=losses.cpu(),
    )


def _halves(task: Task, seed: int) -> tuple[tuple[Task, list[int]], tuple[Task, list[int]]]:
    """The examples in an order drawn by `seed`, cut in two, with the number of each."""
    if len(task) < 4:
        raise BadInput(f"Half of the pairs find a direction and half try it, two at least each. {task.said}")
    order = torch.randperm(len(task), generator=torch.Generator().manual_seed(seed)).tolist()
    middle = len(order) // 2
    one, other = (
        (replace(task, examples=tuple(task.examples[i] for i in part)), part)
        for part in (order[:middle], order[middle:])
    )
    return one, other


def _tried(
    train: Sequence[PairRuns], test: Sequence[PairRuns], layer: int, spare: Tensor | None
) -> tuple[float, Tensor, float]:
    """Of one layer's direction: share carried in the first half; effects (kind, way) and separation in the other."""
    direction = spare if spare is not None else _difference(train, layer)
    if direction is None:  # nothing to exchange along
        whole, _ = _effects(test, layer, [None])
        return 0.0, torch.cat([torch.zeros_like(whole), whole]), 0.5
    own, _ = _effects(train, layer, [direction])
    there, _ = _effects(test, layer, [direction, None])
    return own.mean().item(), there, _separation(test, layer, direction)


def _difference(runs: Sequence[PairRuns], layer: int) -> Tensor | None:
    """The difference of means, or None where every state is the same."""
    up, down = map(precise, both_sides(runs, layer))
    if not (up.mean(0) - down.mean(0)).norm() > _NO_GAP * up.norm(dim=-1).mean():
        return None
    return functional.difference_of_means(up, down)


def _learned(runs: Sequence[PairRuns], layer: int, start: Tensor, steps: int, lr: float) -> functional.LearnedSubspace:
    """The direction whose exchange makes each prompt's metric its partner's, from `start` on."""
    values = measured(runs)
    clean, corrupted = values.mean(1)
    gap = clean - corrupted
    if functional.normalised_faithfulness(clean, clean, corrupted).isnan():
        raise BadInput("Clean and corrupted prompts have the same metric on the mean: there is no gap to carry.")

    def loss(basis: Tensor) -> Tensor:
        found = exchanged(runs, layer, [basis])[:, 0]  # (way, pair): corrupted prompts, then clean ones
        return ((found - values) / gap).square().mean()

    width = len(start)
    return functional.learned_subspace(
        loss, width, steps=steps, lr=lr, start=start[:, None], device=start.device, dtype=start.dtype
    )


def _turned(direction: Tensor, runs: Sequence[PairRuns], layer: int) -> Tensor:
    """The direction with its positive end at the positive side."""
    up, down = (_along(states, direction).mean() for states in both_sides(runs, layer))
    return -direction if up < down else direction


def _effects(
    runs: Sequence[PairRuns], layer: int, directions: Sequence[Tensor | None]
) -> tuple[Float[Tensor, "kind way"], Float[Tensor, "kind"]]:
    """Shares of the gap carried by exchanging along each direction (None: all of them), and of runs that cross over."""
    values = measured(runs)
    clean, corrupted = values.mean(1)
    bases = [None if one is None else one[:, None] for one in directions]
    found = exchanged(runs, layer, bases)  # (way, kind, pair)
    carried = functional.normalised_faithfulness(found.mean(-1), clean, corrupted)  # (way, kind)
    effects = torch.stack([carried[0], 1 - carried[1]], -1)
    there, middle = _with_gap(runs), values.mean(0)
    over = torch.stack([found[0] > middle, found[1] < middle])[..., there]
    return effects.cpu(), over.double().mean((0, 2)).float().cpu()


def _with_gap(runs: Sequence[PairRuns]) -> Tensor:
    clean, corrupted = measured(runs)
    return clean > corrupted


def _along(states: Tensor, direction: Tensor) -> Tensor:
    return functional.coordinates(states, direction.to(states.device))[..., 0]


def _separation(runs: Sequence[PairRuns], layer: int, direction: Tensor) -> float:
    up, down = (_along(states, direction) for states in both_sides(runs, layer))
    return functional.separation(up, down).item()
