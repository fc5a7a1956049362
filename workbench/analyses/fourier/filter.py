"""Fourier filter: which answers change when waves are taken out of what attention and MLPs write into the logits."""

from typing import Annotated, Literal

import torch

from workbench import tasks
from workbench.analyses.fourier.filter_answers import NEAR, STEPS, Values, filtered
from workbench.analyses.fourier.filter_conditions import named_bands
from workbench.analyses.fourier.filter_result import FourierFilter
from workbench.analyses.fourier.filter_runs import Asked
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.registry import Layer, Seed, TaskName, VariableName, Within, analysis
from workbench.variables import Variable, variable as variable_of

Remove = Literal["low", "high", "band", "all-but"]
Part = Literal["attn_out", "mlp_out", "both"]


@analysis("fourier-filter", needs={"text", "logits", "direct-logits", "attn_out"})
@torch.no_grad()
def fourier_filter(
    model: LensModel,
    variable: Annotated[VariableName, "Ordered values that the task's answers are among"],
    task: Annotated[TaskName, "What the model is asked: a task by name, or a table of prompts"],
    *,
    remove: Annotated[
        tuple[Remove, ...], "What is taken out: low or high frequencies, a band, or all but some frequencies"
    ] = ("low", "high"),
    cut: Annotated[int | None, Within(1, 4096), "The highest frequency that is low; none: half of all are"] = None,
    frequencies: Annotated[
        tuple[int, ...], Within(1, 4096), "Those that a band takes out, or that all-but leaves: cycles over all values"
    ] = (),
    parts: Annotated[tuple[Part, ...], "What is filtered, one after the other; none: each, and both together"] = (),
    layers: Annotated[tuple[Layer, ...], "Layers that are filtered; none: all"] = (),
    each_layer: Annotated[bool, "Filter one layer at a time instead of all together"] = False,
    everywhere: Annotated[bool, "Filter at every position, not only where the answer is read"] = False,
    draws: Annotated[int, Within(0, 50), "Random bands and random subspaces that each filter is held against"] = 2,
    examples: Annotated[int, Within(1, 10_000), "Examples of the task"] = 24,
    steps: Annotated[tuple[float, ...], Within(1e-6, 1e9), "Errors are counted that are multiples of these"] = STEPS,
    near: Annotated[float, Within(0, 1e9), "Errors below this are small"] = NEAR,
    shown: Annotated[int, Within(0, 1000), "Examples whose prompts are kept, to see which answers change"] = 12,
    seed: Annotated[Seed, "Seed of the examples and of the random filters"] = 0,
    anyway: Annotated[bool, "Go on though the model does not do the task"] = False,
) -> FourierFilter:
    """Which answers change when low or high frequencies are taken out of what attention and MLPs write.

    What a part writes adds a function of n ordered values to their logits, a sum of waves. A filter puts the nearest
    vector in its place that adds none of some frequencies (Zhou et al. 2024); it leaves d_model - rank dimensions.
    Exact is what is added directly: through the final norm's gain, and up to its divisor, a number above 0, those waves
    are gone. Not exact is the rest: the filtered stream changes that divisor and what later layers make of it, and
    the embedding and the parts left alone still write all frequencies. Random bands of as many components and random
    subspaces of equal rank, which the paper lacks, tell what removing that much does anyway; over few values a random
    band overlaps the band itself. Frequency k has k cycles over the n values, 1 to n // 2; up to `cut` they are
    low. The paper's low components, 1 to 2 tau - 1 with tau = 50 of 520, are a cut at 49, and the sin of 50.
    Errors: examples whose answer is no value, or that have several, are left out and counted; a filter that removes
    nothing or everything is refused. Costs a decomposition of (components, d_model) for each filter, and one forward
    pass of the examples for each place, filter and control; two more to see whether the model does the task.
    """
    over = variable_of(variable, model)
    ids = over.tokens()
    bands = named_bands(len(over), remove, cut, frequencies)
    chosen = tasks.task(task, model, examples=examples, seed=seed, anyway=anyway)
    asked, numbers = _asked(model, chosen, over)
    left_out = len(chosen) - len(numbers)
    prompts = {number: chosen.examples[number].texts[0] for number in numbers}
    return filtered(
        model,
        asked,
        Values(name=over.name, ids=ids, labels=over.labels, numbers=over.values),
        bands,
        parts=parts,
        layers=layers,
        each_layer=each_layer,
        everywhere=everywhere,
        draws=draws,
        seed=seed,
        steps=steps,
        near=near,
        task=chosen.name,
        prompts=[prompts[number] for number in numbers[:shown]],
        said=_said(chosen, over, bands, left_out),
        left_out=left_out,
    )


def _asked(model: LensModel, task: tasks.Task, over: Variable) -> tuple[list[Asked], list[int]]:
    """The examples with exactly one right answer, which is a value; and their numbers, in that order."""
    place_of = {number: i for i, number in enumerate(over.tokens().tolist())}
    asked, numbers = [], []
    for pair in task.pairs(model):
        rows = [
            (row, place_of[task.targets[number][0]])
            for row, number in enumerate(pair.numbers)
            if len(task.targets[number]) == 1 and task.targets[number][0] in place_of
        ]
        if not rows:
            continue
        some = torch.tensor([row for row, _ in rows], device=pair.position.device)
        asked.append(
            Asked(
                batch={name: value[some.to(value.device)] for name, value in pair.clean.items()},
                position=pair.position[some],
                right=torch.tensor([place for _, place in rows]),
            )
        )
        numbers += [pair.numbers[row] for row, _ in rows]
    if not asked:
        answers = ", ".join(repr(model.token_text(answer)) for answer in dict.fromkeys(_first(task)[:6]))
        space = "with" if over.spaced else "without"
        raise BadInput(
            f"No answer of {len(task)} examples of {task.name} is a value of {over.name} ({over.labels[0]!r} to"
            f" {over.labels[-1]!r}, tokens {space} a space before): the answers are {answers} ... Choose another task"
            " or variable; 'ids:' takes the answers' own tokens."
        )
    return asked, numbers


def _first(task: tasks.Task) -> list[int]:
    return [targets[0] for targets in task.targets]


def _said(task: tasks.Task, over: Variable, bands: dict[str, list[int]], left_out: int) -> tuple[str, ...]:
    ranges = "; ".join(
        f"{name}: {'frequency' if len(some) == 1 else 'frequencies'} {_listed(some)}" for name, some in bands.items()
    )
    said = [f"{ranges}, periods in {over.unit} {len(over) * over.spacing:g} / frequency." if ranges else "", task.note]
    if left_out:
        verb = "was" if left_out == 1 else "were"
        said.append(f"{left_out} of {len(task)} examples {verb} left out: their answer is no value of {over.name}.")
    return tuple(filter(None, said))


def _listed(frequencies: list[int]) -> str:
    """A run of numbers as its ends, others one by one."""
    if not frequencies:
        return "none"
    if len(frequencies) > 2 and frequencies == list(range(frequencies[0], frequencies[-1] + 1)):
        return f"{frequencies[0]} to {frequencies[-1]}"
    return ", ".join(map(str, frequencies))
