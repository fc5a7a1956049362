"""Interventions carried out: the functions that `editing` takes, and the values that mean, resample and patch take."""

import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from workbench import progress
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.interventions.forms import Intervention, parse
from workbench.models.lens_model import LensModel

NEEDS_REFERENCE = ("mean", "resample")


def edits(
    model: LensModel,
    interventions: Sequence[Intervention | str],
    *,
    reference: Sequence[Any] | None = None,
    source: Any = None,
) -> dict[str, Callable[[Tensor], Tensor]]:
    """The functions that carry out `interventions`, for `editing(model, ...)`; several at one site follow in order.

    `reference` are the inputs over whose positions mean and resample are taken: by default a few neutral sentences
    that come with the workbench. The first position of each is left out where there are others, because its
    activations are unlike all the rest (Sun et al. 2024, "Massive Activations in Large Language Models"). Runs the
    model once for each of them, and only where mean or resample is asked for. `source` is the input that patch takes
    its values from: one more run where it is asked for.
    """
    parsed = [parse(i) if isinstance(i, str) else i for i in interventions]
    for intervention in parsed:
        _check(model, intervention)
    needed = sorted({i.site for i in parsed if i.operation in NEEDS_REFERENCE})
    values = reference_values(model, needed, reference) if needed else {}
    patched = sorted({i.site for i in parsed if i.operation == "patch"})
    patches = _source_values(model, patched, source) if patched else {}
    by_site: dict[str, list[Callable[[Tensor], Tensor]]] = {}
    for intervention in parsed:
        taken = patches if intervention.operation == "patch" else values
        by_site.setdefault(intervention.site, []).append(_edit(model, intervention, taken.get(intervention.site)))
    return {site: _in_order(steps) for site, steps in by_site.items()}


def reference_values(
    model: LensModel, sites: Sequence[str], reference: Sequence[Any] | None = None
) -> dict[str, Tensor]:
    """Values of `sites` at the positions of the reference inputs, laid end to end: (reference position, ...)."""
    collected: dict[str, list[Tensor]] = {site: [] for site in sites}
    for batch in progress.track(_encoded(model, reference), label="reference"):
        with torch.no_grad(), reading(model, sites) as values:
            model.module(**batch)
        for site in sites:
            rows = values[site][0]
            collected[site].append(rows[1:] if len(rows) > 1 else rows)
    return {site: torch.cat(rows) for site, rows in collected.items()}


@torch.no_grad()
def _source_values(model: LensModel, sites: Sequence[str], source: Any) -> dict[str, Tensor]:
    """Values of `sites` on the input that patch takes them from, batch axis and all."""
    if source is None:
        raise BadInput(f"{sites[0]}=patch takes its value from another prompt: say which with source=.")
    with reading(model, sites) as values:
        model.module(**model.encode(source))
    return dict(values)


def neutral_sentences() -> tuple[str, ...]:
    """The sentences that mean and resample refer to when no others are given."""
    return tuple(json.loads(files("workbench.interventions").joinpath("neutral_sentences.json").read_text("utf-8")))


def _encoded(model: LensModel, reference: Sequence[Any] | None) -> list[dict[str, Tensor]]:
    if reference:
        return [model.encode(x) for x in reference]
    if "text" not in model.capabilities or model.reads != "text":
        raise BadInput(f"{model.name} does not read text alone: give the inputs that mean or resample refer to.")
    batches = []
    for sentence in neutral_sentences():
        try:
            batches.append(model.encode(sentence))
        except BadInput:  # a short context: the sentences that fit are enough
            continue
    if not batches:
        raise BadInput(f"None of the neutral sentences fits into {model.name}: give reference texts of your own.")
    return batches


def _check(model: LensModel, intervention: Intervention) -> None:
    axes = model.site(intervention.site).shape
    if intervention.heads:
        if not {"head", "kv_head"} & set(axes):
            raise BadInput(f"{intervention.site!r} has no heads; name a site that has, such as 'blocks.0.attn.z:3'.")
        sizes = model.stack_of(intervention.site).sizes
        count = sizes.n_heads if "head" in axes else sizes.n_kv_heads
        if bad := [h for h in intervention.heads if h >= count]:
            raise BadInput(f"{intervention.site!r} has heads 0 to {count - 1}, not {bad[0]}.")
    if intervention.operation in NEEDS_REFERENCE and "pos" not in axes:
        raise BadInput(
            f"{intervention.site!r} has no mean over other texts, whose lengths differ: zero or scale it, or take"
            " the mean of the z of the same attention."
        )


def _edit(model: LensModel, intervention: Intervention, reference: Tensor | None) -> Callable[[Tensor], Tensor]:
    axes = model.site(intervention.site).shape

    def edit(value: Tensor) -> Tensor:
        new = _replacement(intervention, value, reference)
        chosen = torch.ones((1,) * value.ndim, dtype=torch.bool, device=value.device)
        for names, indices in ((("head", "kv_head"), intervention.heads), (("pos", "query"), intervention.positions)):
            if indices:
                axis = next(i for i, name in enumerate(axes) if name in names)
                chosen = chosen & _along(axis, indices, value, intervention)
        if axes[-1] == "key" and intervention.site.endswith("attn_scores"):
            chosen = chosen & (value > torch.finfo(value.dtype).min / 2)  # what the mask hides stays hidden
        return torch.where(chosen, new.to(value), value)

    return edit


def _replacement(intervention: Intervention, value: Tensor, reference: Tensor | None) -> Tensor:
    """What `value` would be if every head and position were changed."""
    if intervention.operation == "scale":
        return value * intervention.amount
    if intervention.operation == "add":
        return value + intervention.amount
    if intervention.operation == "zero":
        return torch.zeros_like(value)
    assert reference is not None
    if intervention.operation == "patch":
        if reference.shape[1:] != value.shape[1:] or len(value) % len(reference):
            raise BadInput(
                f"'{intervention}' takes its value from a prompt of the same length: there it is"
                f" {tuple(reference.shape)}, here {tuple(value.shape)}."
            )
        return reference.to(value).repeat(len(value) // len(reference), *[1] * (value.ndim - 1))
    if intervention.operation == "mean":
        return reference.mean(0).expand_as(value)
    draws = torch.Generator().manual_seed(intervention.seed)
    rows = torch.randint(len(reference), (value.shape[1],), generator=draws)
    return reference[rows.to(reference.device)].expand_as(value)


def _along(axis: int, indices: Sequence[int], value: Tensor, intervention: Intervention) -> Tensor:
    """True at `indices` of one axis, with all other axes of length one."""
    size = value.shape[axis]
    if bad := [i for i in indices if not -size <= i < size]:
        raise BadInput(f"'{intervention}' asks for position {bad[0]}; there are positions 0 to {size - 1}.")
    mask = torch.zeros(size, dtype=torch.bool, device=value.device)
    mask[[i % size for i in indices]] = True
    return mask.reshape([-1 if i == axis else 1 for i in range(value.ndim)])


def _in_order(steps: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    def run(value: Tensor) -> Tensor:
        for step in steps:
            value = step(value)
        return value

    return run
