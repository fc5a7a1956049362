"""Runs of a model without some neurons: what it makes of a task, or of all pairs of a variable's values."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional, variable as variable_of
from workbench.analyses.fourier.pairs import Pairs, batches_of, logits_of, neurons_of, pairs_of
from workbench.functional import PairOperation
from workbench.hooks import editing, reading
from workbench.models.lens_model import LensModel
from workbench.tasks import Pair, Task
from workbench.tasks.doing import answers
from workbench.variables import states

NAN = float("nan")
DEAD = 1e-8
"""Norm below which a neuron is dead."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """What is measured in each run."""

    name: str
    parts: tuple[str, ...]
    """Which examples: all, and of pairs those trained on and the others."""
    counts: tuple[int, ...]
    """How many examples each part has."""
    run: Callable[[], list[tuple[float, float]]]
    """Gives (accuracy, loss) of each part, NaN where it has no examples."""
    batches: tuple[Pair, ...] = ()
    """Of a task."""


def of_pairs(pairs: Pairs, train: Bool[Tensor, "n n"]) -> Measured:
    """The answers to all pairs, among the variable's values."""
    masks = {"all": torch.ones_like(train), "train": train, "test": ~train}
    batches = batches_of(pairs)
    at = torch.arange(pairs.n)
    answer = (at[:, None] + at) % pairs.n

    def run() -> list[tuple[float, float]]:
        logits = logits_of(pairs, batches)
        right = (logits.argmax(-1) == answer).double()
        return [
            (right[mask].mean().item(), functional.pair_loss(logits, None, mask).item()) if mask.any() else (NAN, NAN)
            for mask in masks.values()
        ]

    counts = tuple(int(mask.sum()) for mask in masks.values())
    return Measured(name=f"{pairs.operation}, {pairs.variable.name}", parts=tuple(masks), counts=counts, run=run)


def of_task(model: LensModel, task: Task) -> Measured:
    """The clean prompts of a task: targets ahead of foils, and the loss of the targets together among all tokens."""
    batches = tuple(task.pairs(model))
    side = "prob-diff" if task.metric == "prob-diff" else "logit-diff"

    def run() -> list[tuple[float, float]]:
        ahead, losses = [], []
        for pair in batches:
            logits = answers(model, pair, "clean")
            targets, foils = pair.targets.to(logits.device), pair.foils.to(logits.device)
            ahead.append(functional.answer_metric(logits, targets, foils, side) > 0)
            chances = logits.double().log_softmax(-1).gather(-1, targets.clamp(min=0))
            losses.append(-chances.masked_fill(targets < 0, -torch.inf).logsumexp(-1))
        return [(torch.cat(ahead).double().mean().item(), torch.cat(losses).mean().item())]

    return Measured(name=task.name, parts=("all",), counts=(len(task),), run=run, batches=batches)


def without(
    model: LensModel, site: str, neurons: Int[Tensor, "removed"], measured: Measured
) -> list[tuple[float, float]]:
    """(accuracy, loss) of each part while some neurons are zero at all positions."""

    def zeroed(values: Tensor) -> Tensor:
        return values.index_fill(-1, neurons.to(values.device), 0.0)

    with editing(model, {site: zeroed}):
        return measured.run()


def norms_over(
    model: LensModel, variable: str, template: str, operation: PairOperation, site: str
) -> Float[Tensor, "neuron"]:
    """The norm of each neuron over all pairs of a variable's values, or over its values, at the end of the prompt."""
    if "{a}" in template or "{b}" in template:
        held = neurons_of(pairs_of(model, variable, template, operation), site).flatten(0, 1)
    else:
        held = states(model, variable_of(variable, model), [site], template=template, read="last")[site]
    return held.double().norm(dim=0)


def norms_in(measured: Measured, model: LensModel, site: str) -> Float[Tensor, "neuron"]:
    """The norm of each neuron over all positions of a task's clean prompts."""
    squares: Tensor | None = None
    for pair in measured.batches:
        with reading(model, [site]) as values:
            answers(model, pair, "clean")
        found = values[site].double().flatten(0, -2).square().sum(0).cpu()
        squares = found if squares is None else squares + found
    assert squares is not None  # a task has examples
    return squares.sqrt()
