"""Filtered answers: a model asked again and again with waves taken out of what its parts write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, provenance
from workbench.analyses.fourier.filter_conditions import Condition, conditions_of
from workbench.analyses.fourier.filter_result import FourierFilter, stacked
from workbench.analyses.fourier.filter_runs import Answered, Asked, answer_rows, answered, places, readable
from workbench.analyses.fourier.given import check_bands, check_number, check_tokens, check_whole
from workbench.errors import BadInput
from workbench.models.evaluating import evaluating
from workbench.models.lens_model import LensModel
from workbench.progress import track

NEAR = 6.0
STEPS = (10.0, 50.0, 100.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """The values that answers are chosen among."""

    name: str
    ids: Int[Tensor, "value"]
    labels: tuple[str, ...]
    numbers: tuple[float, ...]
    """Evenly spaced."""


def filtered_answers(
    model: LensModel,
    tokens: Int[Tensor, "example pos"],
    right: Int[Tensor, "example"],
    *,
    ids: Int[Tensor, "value"],
    bands: Mapping[str, Sequence[int]],
    values: Sequence[float | int] | None = None,
    parts: Sequence[str] = (),
    layers: Sequence[int] = (),
    each_layer: bool = False,
    everywhere: bool = False,
    position: int = -1,
    draws: int = 2,
    seed: int = 0,
    steps: Sequence[float | int] = STEPS,
    near: float | int = NEAR,
    shown: int = 12,
    batch_size: int = 256,
    task: str = "prompts",
) -> FourierFilter:
    """What a model answers without some frequencies in what its attention and MLPs write, on prompts of token ids.

        bands = {"low removed": range(1, 50), "high removed": range(50, 261)}
        workbench.filtered_answers(model, tokens, answers, ids=number_ids, bands=bands).summary_frame()

    `ids` are the tokens of n ordered, evenly spaced values; `right` holds the token of the right one for each row of
    `tokens`, read at `position`. `bands` name the frequencies to remove, 1 to n // 2. `values` are the numbers that
    errors are measured in; None counts from 0. Otherwise as the analysis fourier-filter, which asks a task's prompts.
    """
    for name, number, least in (
        ("draws", draws, 0),
        ("seed", seed, 0),
        ("shown", shown, 0),
        ("batch_size", batch_size, 1),
    ):
        check_whole(name, number, least)
    check_number("near", near)
    for step in steps:
        check_number("Each of steps", step, above=0)
    check_tokens("ids", ids)
    check_bands(bands)
    n = len(ids)
    if n < 3 or len(set(ids.tolist())) < n:
        raise BadInput(f"ids are the tokens of three or more different values, not {tuple(ids.shape)} of them.")
    numbers = tuple(map(float, range(n) if values is None else values))
    _evenly(numbers, n)
    if tokens.ndim != 2 or right.shape != tokens.shape[:1] or not len(tokens):
        raise BadInput(
            f"Prompts are token ids (example, pos) with a right answer each; these are {tuple(tokens.shape)} and"
            f" {tuple(right.shape)}."
        )
    if not -tokens.shape[1] <= position < tokens.shape[1]:
        raise BadInput(f"There is no position {position}: the prompts have {tokens.shape[1]} tokens.")
    place_of = {number: i for i, number in enumerate(ids.tolist())}
    if strange := [number for number in right.tolist() if number not in place_of]:
        raise BadInput(
            f"{len(strange)} of {len(right)} right answers are no value, the first is token {strange[0]}: leave those"
            " prompts out."
        )
    asked = [
        Asked(
            batch=model.encode(some),
            position=torch.full((len(some),), position % tokens.shape[1], device=model.device),
            right=torch.tensor([place_of[number] for number in answers.tolist()]),
        )
        for some, answers in zip(tokens.split(batch_size), right.split(batch_size), strict=True)
    ]
    over = Values(name="values", ids=ids, labels=tuple(model.token_text(i) for i in ids.tolist()), numbers=numbers)
    with evaluating(model.module):
        found = filtered(
            model, asked, over, bands,
            parts=parts, layers=layers, each_layer=each_layer, everywhere=everywhere, draws=draws, seed=seed,
            steps=steps, near=near, task=task,
            prompts=["".join(map(model.token_text, row)) for row in tokens[:shown].tolist()],
        )  # fmt: skip
    params = {"parts": tuple(parts), "layers": tuple(layers), "position": position, "draws": draws, "seed": seed}
    return replace(found, meta=provenance.stamp("fourier-filter", model, params))


@torch.no_grad()
def filtered(
    model: LensModel,
    asked: Sequence[Asked],
    over: Values,
    bands: Mapping[str, Sequence[int]],
    *,
    parts: Sequence[str],
    layers: Sequence[int],
    each_layer: bool,
    everywhere: bool,
    draws: int,
    seed: int,
    steps: Sequence[float | int],
    near: float | int,
    task: str,
    prompts: Sequence[str],
    said: Sequence[str] = (),
    left_out: int = 0,
) -> FourierFilter:
    """All places and conditions on prompts that are made; one pass of them for each, one more without a filter."""
    chosen = places(model, parts, layers, each_layer=each_layer)
    rounding = torch.finfo(model.dtype).eps if model.dtype.is_floating_point else 0.0
    rows = answer_rows(model, over.ids)
    conditions = [
        _ready(condition, model)
        for condition in conditions_of(rows, bands, readable=readable(model), draws=draws, seed=seed, rounding=rounding)
    ]
    right = torch.cat([one.right for one in asked])
    before = answered(model, asked, over.ids)

    def measured(now: Answered) -> dict[str, Tensor]:
        return _measured(now, before, right, over, steps, near)

    plain = measured(before)
    runs = [(place, condition) for place in chosen for condition in conditions[1:]]
    done = iter(
        measured(answered(model, asked, over.ids, place.sites, condition.filter, everywhere=everywhere))
        for place, condition in track(runs, label="filters")
    )
    cells = [[plain, *(next(done) for _ in conditions[1:])] for _ in chosen]
    numbers: dict[str, Any] = stacked(cells)
    return FourierFilter(
        variable=over.name,
        task=task,
        said=tuple(said),
        labels=over.labels,
        values=over.numbers,
        n_examples=len(right),
        left_out=left_out,
        everywhere=everywhere,
        parts=tuple(place.part for place in chosen),
        layers=torch.tensor([place.layer for place in chosen]),
        layers_filtered=tuple(sorted(set(layers))) or tuple(range(model.main.n_blocks)),
        bands=tuple(condition.band for condition in conditions),
        filters=tuple(condition.kind for condition in conditions),
        draws=torch.tensor([condition.draw for condition in conditions]),
        frequencies=tuple(condition.frequencies for condition in conditions),
        ranks=torch.tensor([0 if condition.filter is None else condition.filter.rank for condition in conditions]),
        d_model=model.d_model,
        steps=tuple(map(float, steps)),
        near_bound=float(near),
        right=right,
        prompts=tuple(prompts),
        **numbers,
    )


def _measured(
    now: Answered, before: Answered, right: Tensor, over: Values, steps: Sequence[float | int], near: float | int
) -> dict[str, Tensor]:
    """The numbers of one place and condition, by their names in the result."""
    predicted, first = now.logits.argmax(-1), before.logits.argmax(-1)
    numbers = torch.tensor(over.numbers, dtype=torch.float64)
    pattern = functional.error_pattern(numbers[predicted], numbers[right], steps, near)
    own = now.logits.gather(-1, right[:, None])[:, 0]
    moved = (now.logits.softmax(-1) - before.logits.softmax(-1)).abs().sum(-1) / 2
    return {
        "predicted": predicted,
        "accuracy": _mean(predicted == right),
        "vocab_accuracy": _mean(now.top == over.ids.cpu()[right]),
        "loss": (now.logits.logsumexp(-1) - own).mean().float(),
        "vocab_loss": (now.all_logits - own).mean().float(),
        "total_variation": moved.mean().float(),
        "changed": _mean(predicted != first),
        "errors": pattern.errors,
        "multiples": pattern.multiples.float(),
        "near": pattern.near.float(),
        "mean_error": pattern.mean_size.float(),
    }


def _mean(which: Tensor) -> Float[Tensor, ""]:
    return which.float().mean()


def _ready(condition: Condition, model: LensModel) -> Condition:
    """The condition with its filter beside the model, rounded to the type that is computed in."""
    if condition.filter is None:
        return condition
    dtype = torch.promote_types(model.dtype, torch.float32)
    rows = condition.filter.rows.to(device=model.device, dtype=dtype)
    return replace(condition, filter=replace(condition.filter, rows=rows))


def _evenly(numbers: Sequence[float | int], n: int) -> None:
    if len(numbers) != n:
        raise BadInput(f"There are {len(numbers)} values for {n} tokens.")
    if strange := [number for number in numbers if not isfinite(number)]:
        raise BadInput(f"Values are finite numbers, evenly spaced; one of these is {strange[0]}.")
    gaps = [b - a for a, b in zip(numbers, numbers[1:], strict=False)]
    if not gaps[0] or any(abs(gap - gaps[0]) > 1e-6 * abs(gaps[0]) for gap in gaps):
        raise BadInput("Values must be evenly spaced: a frequency counts cycles over equal steps.")
