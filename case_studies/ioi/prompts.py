"""The prompts, whether a model does what they ask, and the same prompts with the two names exchanged."""

from dataclasses import replace
from typing import Any

import torch

import workbench
from workbench import tasks

NAME = "ioi"


def drawn(model: workbench.LensModel, examples: int, seed: int) -> tasks.Task:
    """Prompts in the tokens of a model; it is not run."""
    return tasks.draw(NAME, model, examples=examples, seed=seed)


def untrained(model: workbench.LensModel, seed: int) -> workbench.LensModel:
    """The same architecture with random weights, as it would start to be trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module: Any = type(model.module)(model.module.config)
    return workbench.adapt(module.float().eval(), model.processor, name=f"{model.name}, untrained")


def exchanged(task: tasks.Task) -> tasks.Task:
    """Clean prompts in which the giver gets it: each of the two names where the other was. The answers stay."""

    def turned(example: tasks.Example) -> tasks.Example:
        (one,), (other,) = example.targets, example.foils
        swap = {one: other, other: one}
        return replace(example, clean=tuple(swap.get(token, token) for token in example.clean))

    return replace(task, examples=tuple(map(turned, task.examples)))


def refusal(model: workbench.LensModel, examples: int, seed: int) -> str:
    """Why the workbench gives this model no circuit of the task; empty where it gives one."""
    try:
        workbench.task(NAME, model, examples=examples, seed=seed)
    except workbench.BadInput as error:
        return str(error)
    return ""


def behaviour(name: str, model: workbench.LensModel, task: tasks.Task) -> dict[str, Any]:
    """One row: how well a model does it on these prompts."""
    doing = tasks.doable(model, task)
    return {
        "model": name,
        "accuracy": doing.accuracy,
        "first of all tokens": doing.top,
        "logit difference": doing.clean,
        "corrupted": doing.corrupted,
        "prompts": doing.examples,
    }
