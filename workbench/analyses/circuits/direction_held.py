"""A direction held at one value after another: what becomes of a task's prompts, and of sentences that have no part."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, progress
from workbench.analyses.circuits.direction_runs import PairRuns, run_prompts
from workbench.errors import BadInput
from workbench.interventions import neutral_sentences
from workbench.models.lens_model import LensModel

STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
"""Where the direction is held: 0 is the mean of the negative side, 1 that of the positive one."""


def held_values(
    positive: Float[Tensor, "prompt d_model"],
    negative: Float[Tensor, "other d_model"],
    direction: Float[Tensor, "d_model"],
) -> Float[Tensor, "value"]:
    """Values from beyond the mean of one side to beyond that of the other, in units of the stream."""
    up, down = (functional.coordinates(states, direction.to(states.device)).mean() for states in (positive, negative))
    return torch.stack([down + step * (up - down) for step in STEPS])


def held_on_pairs(
    runs: Sequence[PairRuns], layer: int, direction: Float[Tensor, "d_model"], values: Float[Tensor, "value"]
) -> Float[Tensor, "2 value"]:
    """Mean metric of the prompts of the positive and of the negative side, held at each value.

    The positive side's answers are the targets: where sides are answers, pairs whose clean prompt is on the negative
    side count with their sign turned.
    """
    found, positive = [], []
    for run in runs:
        turned = 1.0 - 2.0 * (~run.positive)
        for side, prompts in enumerate(run.sides):
            states = _held(prompts.states(layer), direction, values)
            found.append(run.changed(side, layer, states) * turned)
            positive.append(run.positive if side == 0 else ~run.positive)
    metric, where = torch.cat(found, 1), torch.cat(positive)
    return torch.stack([metric[:, where].mean(1), metric[:, ~where].mean(1)])


@torch.no_grad()
def held_on_neutral(
    model: LensModel, layer: int, direction: Float[Tensor, "d_model"], values: Float[Tensor, "value"]
) -> Float[Tensor, "sentence value"]:
    """KL(as it is || held) of the answer to each neutral sentence the model can read, in nats."""
    found = []
    for sentence in progress.track(neutral_sentences(), label="neutral sentences"):
        try:
            batch = model.encode(sentence)
        except BadInput:  # a short context: the sentences that fit are enough
            continue
        at = torch.tensor([model.answer_position(batch)], device=model.device)
        prompts = run_prompts(model, batch, at)
        states = prompts.states(layer)
        before, *after = prompts.logits(layer, torch.cat([states[None], _held(states, direction, values)]))
        found.append(torch.stack([functional.kl_divergence(before, one) for one in after]))
    return torch.stack(found) if found else values.new_zeros(0, len(values))


def _held(states: Tensor, direction: Tensor, values: Tensor) -> Float[Tensor, "value prompt d_model"]:
    direction = direction.to(states.device)
    return torch.stack([functional.steer(states, direction, value) for value in values.tolist()]).to(states)
