"""Pairs of prompts run once, and again from a block on with other states where the answer is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional, progress
from workbench.circuits.blocks import Calls, answers, recorded, run_blocks
from workbench.functional.precision import precise
from workbench.hooks import editing, reading
from workbench.models.lens_model import LensModel
from workbench.tasks import Pair, Task

SIGNED = ("logit-diff", "prob-diff")
"""Metrics that change their sign when targets and foils change places."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptRuns:
    """Prompts of equal length, run once."""

    model: LensModel
    batch: Mapping[str, Tensor]
    position: Int[Tensor, "batch"]
    """Where the answer is read, in the main stack."""
    calls: Calls | None
    """What its blocks were called with; None where the model can only be run whole: encoder-decoders."""
    streams: tuple[Float[Tensor, "batch pos d_model"], ...]
    """What left each block."""

    def states(self, layer: int) -> Float[Tensor, "batch d_model"]:
        """The stream after block `layer` where the answer is read."""
        stream = self.streams[layer]
        return stream[torch.arange(len(stream), device=stream.device), self.position]

    def logits(self, layer: int, states: Float[Tensor, "copy batch d_model"]) -> Float[Tensor, "rows vocab"]:
        """Answers with each copy of `states` put after block `layer` where the answer is read, copy after copy."""
        copies = len(states)
        stream = self.streams[layer].repeat(copies, 1, 1)
        where = torch.arange(len(stream), device=stream.device), self.position.repeat(copies)
        stream = stream.index_put(where, states.flatten(0, 1).to(stream))
        if self.calls is not None:
            return precise(answers(self.model, run_blocks(self.calls, layer + 1, stream)[where]))
        site = self.model.stream("resid_post")[layer]
        batch = {name: value.repeat(copies, *[1] * (value.ndim - 1)) for name, value in self.batch.items()}
        with editing(self.model, {site: lambda _: stream}):
            return precise(self.model.module(**batch).logits[where])


@dataclass(frozen=True, eq=False, kw_only=True)
class PairRuns:
    """Pairs of prompts of equal length, run once, and what came of them."""

    pair: Pair
    metric: str
    sides: tuple[PromptRuns, PromptRuns]
    """The clean and the corrupted prompts."""
    reference: Float[Tensor, "batch vocab"]
    """Logits of the clean prompts where the answer is read."""
    values: Float[Tensor, "2 batch"]
    """The metric of the clean and of the corrupted prompts."""
    positive: Bool[Tensor, "batch"]
    """Whether the clean prompt is on the positive side; its corrupted prompt is on the other."""

    def changed(
        self, side: int, layer: int, states: Float[Tensor, "copy batch d_model"]
    ) -> Float[Tensor, "copy batch"]:
        """The metric of one side's prompts (0 clean, 1 corrupted) with each copy of `states` after block `layer`."""
        copies = len(states)
        found = functional.answer_metric(
            self.sides[side].logits(layer, states),
            self.pair.targets.repeat(copies, 1),
            self.pair.foils.repeat(copies, 1),
            self.metric,
            reference=self.reference.repeat(copies, 1),
        )
        return found.view(copies, -1)


@torch.no_grad()
def run_prompts(model: LensModel, batch: Mapping[str, Tensor], position: Int[Tensor, "batch"]) -> PromptRuns:
    """One forward pass, kept so that its end can be done again from any block on."""
    if len(model.stacks) == 1:
        calls = recorded(model, batch)
        return PromptRuns(model=model, batch=batch, position=position, calls=calls, streams=calls.streams[1:])
    sites = model.stream("resid_post")
    with reading(model, sites) as values:
        model.module(**batch)
    streams = tuple(values[site] for site in sites)
    return PromptRuns(model=model, batch=batch, position=position, calls=None, streams=streams)


def run_pairs(model: LensModel, task: Task, positive: Sequence[bool], batch_size: int = 16) -> tuple[PairRuns, ...]:
    """Every pair of a task run once on both prompts; `positive` says of each example on which side it is clean."""
    found = []
    for pair in progress.track(tuple(task.pairs(model, batch_size)), label="pairs"):
        clean, corrupted = (run_prompts(model, batch, pair.position) for batch in (pair.clean, pair.corrupted))
        last = model.n_blocks - 1
        logits = [one.logits(last, one.states(last)[None]) for one in (clean, corrupted)]
        values = [
            functional.answer_metric(one, pair.targets, pair.foils, task.metric, reference=logits[0]) for one in logits
        ]
        found.append(
            PairRuns(
                pair=pair,
                metric=task.metric,
                sides=(clean, corrupted),
                reference=logits[0],
                values=torch.stack(values),
                positive=torch.tensor([positive[number] for number in pair.numbers], device=pair.position.device),
            )
        )
    return tuple(found)


def sides_of(model: LensModel, task: Task) -> tuple[tuple[str, str], tuple[bool, ...]]:
    """What the positive and the negative side are, and whether each example's clean prompt is on the positive one.

    Where the whole task has two answers, such as singular and plural verbs, they are the sides, the one that is right
    first the positive; elsewhere clean prompts are the positive side.
    """
    answers = tuple(dict.fromkeys((*task.targets, *task.foils)))
    if len(answers) == 2 and task.metric in SIGNED and set(task.targets) == set(answers):
        first, second = (_called(model, answer) for answer in answers)
        return (first, second), tuple(target == answers[0] for target in task.targets)
    return ("clean", "corrupted"), (True,) * len(task)


def _called(model: LensModel, answer: tuple[int, ...]) -> str:
    """The first few of several answers, without the space before a word."""
    texts = [text.strip() or text for text in map(model.token_text, answer[:3])]
    return ", ".join(texts) + (" ..." if len(answer) > 3 else "")


def both_sides(runs: Sequence[PairRuns], layer: int) -> tuple[Tensor, Tensor]:
    """States after block `layer` of all prompts on the positive and on the negative side: (prompt, d_model)."""
    states = torch.cat([side.states(layer) for run in runs for side in run.sides])
    positive = torch.cat([sign for run in runs for sign in (run.positive, ~run.positive)])
    return states[positive], states[~positive]


def measured(runs: Sequence[PairRuns]) -> Float[Tensor, "2 pair"]:
    """The metric of all clean and all corrupted prompts."""
    return torch.cat([run.values for run in runs], 1)


def exchanged(
    runs: Sequence[PairRuns], layer: int, bases: Sequence[Float[Tensor, "d_model rank"] | None]
) -> Float[Tensor, "2 basis pair"]:
    """The metric when each prompt's state takes its partner's place inside each subspace; None is the whole vector.

    First of the corrupted prompts, which take from the clean ones (denoising), then of the clean ones (noising).
    """
    found = []
    for target, source in ((1, 0), (0, 1)):
        rows = []
        for run in runs:
            here, there = (run.sides[side].states(layer) for side in (target, source))
            states = [there if basis is None else functional.interchange(here, there, basis) for basis in bases]
            rows.append(run.changed(target, layer, torch.stack([state.to(here) for state in states])))
        found.append(torch.cat(rows, 1))
    return torch.stack(found)
