"""Whether a model does a task: a circuit for what it cannot do would be a circuit for nothing."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from workbench import progress
from workbench.errors import BadInput
from workbench.functional import answer_metric
from workbench.tasks.form import Doing, Pair, Task, counted

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

CHANCE = 0.5
"""Accuracy of a guess: the targets are ahead of the foils, or they are not."""
ENOUGH = 0.75
"""Half way from a guess to always right."""
UNLIKELY = 0.01
"""How likely a guess may be to do as well."""
MORE = "Ask for more examples."
"""What to do where the examples are too few to tell."""


@torch.no_grad()
def doable(model: "LensModel", task: Task, *, batch_size: int = 16) -> Doing:
    """How well a model does a task, and a sentence if that is not well enough to ask how.

    It does the task if the targets are ahead of the foils (by the task's own measure: mean logit or summed
    probability) on at least three quarters of the clean prompts, and on more than guessing would give in 99 of 100
    cases (binomial, one-sided: from 7 examples on), and if the metric is higher for the clean prompt than for the
    corrupted one in the mean and for at least three quarters of the pairs. Two forward passes an example.
    """
    if not task.examples:
        raise BadInput(f"{task.name} has no examples to measure.")
    side = "prob-diff" if task.metric == "prob-diff" else "logit-diff"
    columns = []
    for pair in progress.track(list(task.pairs(model, batch_size)), label=f"does it do {task.name}"):
        clean, corrupted = answers(model, pair, "clean"), answers(model, pair, "corrupted")
        values = [answer_metric(x, pair.targets, pair.foils, task.metric, clean) for x in (clean, corrupted)]
        ahead = answer_metric(clean, pair.targets, pair.foils, side) > 0
        top = (clean.argmax(-1, keepdim=True) == pair.targets).any(-1)
        columns.append(torch.stack([*values, ahead.to(clean.dtype), top.to(clean.dtype)]).double().cpu())
    clean, corrupted, ahead, top = torch.cat(columns, dim=1)  # each (example)
    if undefined := int((~torch.isfinite(clean - corrupted)).sum()):
        raise BadInput(
            f"{model.name} answers {undefined} of {len(task)} examples of {task.name} with no finite number."
        )
    found = Doing(
        model=model.name,
        task=task.name,
        metric=task.metric,
        clean=clean.mean().item(),
        corrupted=corrupted.mean().item(),
        accuracy=ahead.mean().item(),
        top=top.mean().item(),
        without_gap=int((clean <= corrupted).sum()),
        examples=len(task),
        why_not="",
    )
    return replace(found, why_not=refusal(found))


def answers(model: "LensModel", pair: Pair, which: str) -> torch.Tensor:
    """(batch, vocab) logits where the answer is read, for the "clean" or the "corrupted" prompts."""
    logits = model.logits(pair.clean if which == "clean" else pair.corrupted)
    return logits[torch.arange(len(pair), device=logits.device), pair.position.to(logits.device)].float()


def refusal(found: Doing) -> str:
    """Why these numbers are not enough to say that the model does the task; "" when they are."""
    from scipy.stats import binomtest

    n, right = found.examples, round(found.accuracy * found.examples)
    share = found.without_gap / n
    start, over = f"{found.model} does not do {found.task}:", counted(n, "example")
    if found.accuracy < ENOUGH:
        return (
            f"{start} by targets ahead of foils, accuracy {found.accuracy:.2f} over {over}, chance {CHANCE},"
            f" needed {ENOUGH}."
        )
    if binomtest(right, n, CHANCE, alternative="greater").pvalue >= UNLIKELY:
        return (
            f"It cannot be told whether {found.model} does {found.task}: {right} of {over} {'is' if n == 1 else 'are'}"
            f" right, which guessing gives too often. {MORE}"
        )
    if found.gap <= 0 or share > 1 - ENOUGH:
        return (
            f"{start} its {found.metric} is {found.clean:.3g} on clean prompts and {found.corrupted:.3g} on corrupted "
            f"ones, and no higher on clean ones for {found.without_gap} of {over}: corrupting changes too little."
        )
    return ""
