"""Fourier steering: what a model answers when the state of a value is moved along its fitted circle or line.

A plugin like any third party's: it uses the public interface of the workbench only.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

import workbench
from probes.answer_reader import AnswerReader
from probes.fitted_feature import Feature, FittedFeature, fitted_feature
from probes.fourier import FEWEST
from probes.fourier_fits import are_level, checked_periods
from probes.fourier_steering_result import FourierSteering
from workbench import (
    BadInput,
    Layer,
    LensModel,
    Seed,
    Variable,
    VariableName,
    Within,
    analysis,
    track,
)

NEARLY_WHOLE = 1e-4
"""How far from a whole number of turns is still one: 59 / 11 may be written 5.3636."""


@analysis("fourier-steering", needs={"text", "resid", "logits", "readout", "one-stack"})
@torch.no_grad()
def fourier_steering(
    model: LensModel,
    variable: Annotated[VariableName, "Variable whose states are moved, and among whose tokens answers are"],
    *,
    template: Annotated[str, "Text with {} in the place of the value, such as 'The day after {} is'"] = "{}",
    feature: Annotated[Feature, "What states are moved along: a circle, or the line of the value itself"] = "circle",
    period: Annotated[
        float | None, "Period of the circle in the variable's own unit; none: the whole range of its values"
    ] = None,
    layer: Annotated[Layer | None, "Block after or before which states are moved; none: the one in the middle"] = None,
    stream: Annotated[
        Literal["after", "before"], "Whether states are moved after that block or before it; before block 0: embeddings"
    ] = "after",
    value: Annotated[str | None, "The one value that is moved; none: each in turn"] = None,
    by: Annotated[tuple[int, ...], "How many steps of the variable states are moved"] = (1,),
    draws: Annotated[int, Within(1, 100), "Controls of each kind"] = 5,
    seed: Annotated[Seed, "Seed of the controls"] = 0,
) -> FourierSteering:
    """What is answered when the state of a value is turned along its fitted circle, or shifted along the value's line.

    The feature is fitted by least squares to the states of all values at their last token; a circle of a variable
    without an end that meets its start is fitted along with the value itself. A turn changes a state inside the
    fitted plane alone, and goes around within each period: 28, by 3 with period 10, is 21. A period that is no whole
    number of steps goes around with the first whole number of them that is whole periods: of 23 / 4, after 23 steps.
    How far answers go is told beside that of the whole state of the other value, of changes as long in random planes,
    and of changes as long along the feature fitted to the values in random order, which lies among the values' own
    states: where these have hardly more directions than the feature, it moves answers too. Cost: a pass for each
    value, step and arm.
    """
    values = workbench.variable(variable, model)
    ids = values.tokens()
    n = len(values)
    if n < FEWEST:
        raise BadInput(f"{values.name} has {n} values; a circle is fitted to {FEWEST} or more.")
    turn = checked_periods([n * values.spacing if period is None else period], n, values.spacing, values.unit)[0]
    targets = np.stack([_targets(values, steps, turn if feature == "circle" else None) for steps in _steps(by)])
    rows = _rows(values, value)
    if (targets[:, rows] < 0).all():
        raise BadInput(f"Moved by {', '.join(map(str, by))}, no value of {values.name} has another to go to.")
    block = (model.n_blocks - 1) // 2 if layer is None else layer
    site = model.stream("resid_post" if stream == "after" else "resid_pre")[block]
    if stream == "after" and block == model.n_blocks - 1:
        _need_value_at_answer(model, values, template, block)
    states = workbench.variables.states(model, values, [site], template=template)[site].double().numpy()
    if are_level(states[None]):
        raise BadInput(
            f"{stream.title()} block {block} the states of all values of {values.name} are the same: nothing to fit."
        )
    at = np.array(values.values)
    random = np.random.default_rng(seed)
    orders = [np.arange(n), *(random.permutation(n) for _ in range(draws))]
    fits = [fitted_feature(states, at[order], feature, turn, with_value=not values.cyclic) for order in track(orders)]
    changes = [_changes(fit, states, values, steps, feature, turn) for fit in fits for steps in by]
    moves = np.stack(changes).reshape(1 + draws, len(by), *states.shape)
    sizes = np.linalg.norm(moves[0], axis=-1)  # (step, value)
    if not (sizes[:, rows] > 0).all():
        raise BadInput(f"The fitted {feature} has no extent {stream} block {block}: there is nothing to move along.")
    drawn = [np.linalg.qr(random.normal(size=fits[0].plane.shape))[0] for _ in range(draws)]
    planes = np.stack([moves[0] @ fits[0].plane @ plane.T for plane in drawn])
    lengths = np.linalg.norm(moves[1:], axis=-1, keepdims=True)
    ordered = moves[1:] / np.where(lengths > 0, lengths, 1.0) * sizes[..., None]
    whole = np.where(targets[..., None] >= 0, states[targets] - states, 0.0)
    arms = (
        f"{feature} {'turned' if feature == 'circle' else 'shifted'}",
        "whole state",
        *(f"random plane {i + 1}" for i in range(draws)),
        *(f"random order {i + 1}" for i in range(draws)),
    )
    every = np.concatenate([moves[:1], whole[None], planes, ordered])[:, :, rows]  # (arm, step, value, d)
    read = AnswerReader(model, values, template, site, ids)
    clean = read(range(n), None)
    logits = read(list(rows) * (len(arms) * len(by)), every.reshape(-1, states.shape[1]))
    logits = logits.view(len(arms), len(by), len(rows), n)
    chosen = torch.tensor(targets[:, rows])
    wanted = clean[chosen.clamp(min=0)]
    answered = clean.argmax(-1)
    return FourierSteering(
        carried=_carried(logits, clean[list(rows)], wanted, chosen >= 0),
        answers=logits.argmax(-1),
        before=answered[list(rows)],
        targets=chosen,
        wanted=answered[chosen.clamp(min=0)].masked_fill(chosen < 0, -1),
        sizes=torch.tensor(sizes[:, rows] / np.linalg.norm(states[rows], axis=-1)),
        arms=arms,
        by=tuple(by),
        values=tuple(values.labels[i] for i in rows),
        labels=values.labels,
        layer=block,
        stream=stream,
        feature=feature,
        period=turn,
        explained=fits[0].explained,
        said=values.said,
    )


def _steps(by: Sequence[int]) -> Sequence[int]:
    if not by or 0 in by:
        raise BadInput("by is a number of steps, or several, none of them 0: nothing moves by 0.")
    return by


def _rows(values: Variable, value: str | None) -> list[int]:
    if value is None:
        return list(range(len(values)))
    if value not in values.labels:
        raise BadInput(f"{values.name} has no value {value!r}; it has {', '.join(values.labels[:12])}.")
    return [values.labels.index(value)]


def _targets(values: Variable, steps: int, period: float | None) -> Int[np.ndarray, "value"]:
    """The number of the value that each is moved to: around within its period, or along the line; -1 outside."""
    n, first = len(values), round(values.values[0] / values.spacing)
    at = np.arange(n) + first
    if period is None:
        moved = at + steps
    else:
        around = _around(n, period / values.spacing, values)
        if steps % around == 0:
            raise BadInput(f"A turn by {steps} steps with a period of {period:g} goes around to where it began.")
        moved = at - at % around + (at + steps) % around
    found = moved - first
    return np.where((found >= 0) & (found < n), found, -1)


def _around(n: int, period: float, values: Variable) -> int:
    """The fewest steps that are whole periods: P for a period of P / k over P values, P a prime."""
    for steps in range(1, n + 1):
        turns = steps / period
        if round(turns) and abs(turns - round(turns)) < NEARLY_WHOLE:
            return steps
    raise BadInput(
        f"A turn of whole steps needs a period of whole steps of {values.spacing:g}, or one of which a whole number"
        f" is at most {n} such steps; {period * values.spacing:g} is neither. Near it is {n * values.spacing:g} /"
        f" {max(1, min(n // 2, round(n / period)))}."
    )


def _need_value_at_answer(model: LensModel, values: Variable, template: str, block: int) -> None:
    """Refuse what nothing can come of: after the last block, states elsewhere than at the answer are read no more."""
    value, last = (workbench.variables.placed(model, values, template, read) for read in ("value", "last"))
    if all(one.position != other.position for one, other in zip(value, last, strict=True)):
        raise BadInput(
            f"After block {block}, the last, nothing flows from the value in {template!r} to where the answer is read:"
            " every change is 0. Move states before the block (stream='before'), after an earlier one, or end the"
            " template with the value."
        )


def _changes(
    fit: FittedFeature, states: np.ndarray, values: Variable, steps: int, feature: str, period: float
) -> Float[np.ndarray, "value d"]:
    if feature == "circle":
        return fit.turned(states, 2 * np.pi * steps * values.spacing / period)
    return fit.shifted(states, steps * values.spacing)


def _carried(
    logits: Float[Tensor, "arm step value answer"],
    clean: Float[Tensor, "value answer"],
    wanted: Float[Tensor, "step value answer"],
    there: Tensor,
) -> Float[Tensor, "arm step value"]:
    """The share of the wanted change of the answers that is made, common shifts of all logits left out."""
    made, asked = (change - change.mean(-1, keepdim=True) for change in (logits - clean, wanted - clean))
    whole = asked.square().sum(-1)
    level = whole.sqrt() <= 1e-5 * clean.norm(dim=-1)  # rounding
    return (made * asked).sum(-1) / whole.masked_fill(level | ~there, torch.nan)
