"""`capture`: run a model over many inputs and keep what passes at chosen sites."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench import progress
from workbench.activations.batches import Batch, Inputs, Plan, collate, plan, rows_of
from workbench.activations.choosing import GRADIENT, Choice, choose, cut, matching
from workbench.activations.estimating import check_disk, check_memory
from workbench.activations.fingerprint import fingerprint
from workbench.activations.memory import Activations
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.provenance import versions
from workbench.store import writer as writing
from workbench.store.manifest import Manifest
from workbench.store.reader import ActivationStore
from workbench.store.rows import Rows

Objective = Callable[[Any, Mapping[str, Tensor]], Tensor]
"""(output of the module, batch) -> the number whose gradients are wanted. Sum over the batch, so that each input's
gradient is its own; `batch["attention_mask"]` says what is padding."""


def capture(
    model: LensModel,
    inputs: Sequence[Any],
    sites: str | Iterable[str],
    *,
    store: str | PathLike[str] | None = None,
    batch_size: int = 8,
    sort_by_length: bool = False,
    dtype: str | torch.dtype | None = None,
    gradients_of: Objective | None = None,
) -> Activations | ActivationStore:
    """What passes at `sites` (names or patterns such as `blocks.*.resid_post`) for each of `inputs`, padding left out.

    In memory, or in the folder `store`, which holds more than memory does, is written while the model runs, and goes on
    where it stopped when the same call is made again. `sort_by_length` runs inputs of like length together, which is
    faster; the rows keep the order of the inputs. `dtype` keeps values in a smaller type. With `gradients_of`, the
    gradient at each site is kept under its name and `.grad`. Raises BadInput when memory or disk cannot hold it.
    """
    wanted = Inputs(model=model, raw=inputs)
    kept = str(dtype).removeprefix("torch.") if dtype is not None else None
    names = matching(model, sites)
    planned = plan(wanted, batch_size, sort_by_length)
    choice = choose(wanted, planned, names, kept, gradients_of is not None)
    run = _Run(wanted, planned, choice, names, gradients_of)
    if store is None:
        return run.to_memory()
    folder = Path(store).expanduser()
    objective = None if gradients_of is None else getattr(gradients_of, "__qualname__", type(gradients_of).__name__)
    head = Manifest(
        model={"name": model.name, "revision": model.info.get("revision"), "weights": fingerprint(model.module)},
        sites=choice.columns,
        inputs={"count": len(wanted), "fingerprint": planned.fingerprint},
        options={"batch_size": batch_size, "sort_by_length": sort_by_length, "gradients_of": objective},
        batches=len(planned.batches),
        versions=dict(versions()),
    )
    return run.to_store(folder, head)


class _Run:
    """One capture, with everything about it settled."""

    def __init__(
        self, inputs: Inputs, plan: Plan, choice: Choice, sites: Sequence[str], objective: Objective | None
    ) -> None:
        self.inputs, self.plan, self.choice, self.sites, self.objective = inputs, plan, choice, sites, objective
        self.model = inputs.model

    def to_memory(self) -> Activations:
        check_memory(sum(self.choice.bytes_of(range(len(self.inputs))).values()))
        filled, starts = {}, {}
        for side, counts in self.choice.lengths.items():
            starts[side] = torch.tensor([0, *counts]).cumsum(0).tolist()
        for c in self.choice.columns:
            shape = (starts[c.side][-1], *c.shape) if c.per == "row" else None
            filled[c.name] = [None] * len(self.inputs) if shape is None else torch.empty(shape, dtype=_type(c.dtype))
        tables: dict[int, Mapping[str, Rows]] = {}
        for batch in self._batches(range(len(self.plan.batches))):
            for column in self.choice.columns:
                for number, entry in zip(batch.inputs, batch.values[column.name], strict=True):
                    entry = writing.cast(entry, _type(column.dtype), column.name)
                    if column.per == "row":
                        start = starts[column.side][number]
                        filled[column.name][start : start + len(entry)] = entry
                    else:
                        filled[column.name][number] = entry.contiguous()
            for at, number in enumerate(batch.inputs):
                tables[number] = {side: parts[at] for side, parts in batch.rows.items()}
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in filled.items()}
        whole = {side: Rows.joined(tables[n][side] for n in sorted(tables)) for side in self.choice.lengths}
        return Activations(values=values, columns=self.choice.columns, tables=whole)

    def to_store(self, folder: Path, head: Manifest) -> ActivationStore:
        with writing.StoreWriter(folder, head) as writer:
            left = [number for batch in writer.missing for number in self.plan.batches[batch]]
            check_disk(folder, sum(self.choice.bytes_of(left).values()))
            for batch in self._batches(writer.missing):
                writer.put(batch)
        return ActivationStore(folder)

    def _batches(self, numbers: Sequence[int]) -> Iterator[writing.Batch]:
        for number in progress.track(numbers, label="capturing"):
            members = self.plan.batches[number]
            encoded = [self.inputs.encode(one) for one in members]
            batch = collate(self.inputs, encoded)
            read = self._forward(batch)
            values = {c.name: cut(c, read.pop(c.name), batch, len(members)) for c in self.choice.columns}
            lengths = {side: tuple(counts[n] for n in members) for side, counts in self.choice.lengths.items()}
            rows = {
                side: tuple(
                    rows_of(self.inputs, one, n, side, length)
                    for one, n, length in zip(encoded, members, lengths[side], strict=True)
                )
                for side in lengths
            }
            yield writing.Batch(number, members, lengths, values, rows)

    def _forward(self, batch: Batch) -> dict[str, Tensor]:
        if self.objective is None:
            with torch.no_grad(), reading(self.model, self.sites) as values:
                self.model.module(**batch)
                return dict(values)
        with torch.enable_grad(), reading(self.model, self.sites, gradients=True) as values:
            number = self.objective(self.model.module(**batch), batch)
            if not isinstance(number, Tensor) or number.numel() != 1 or not number.requires_grad:
                raise BadInput("gradients_of must give one number (a tensor) that depends on the model's output.")
            read = dict(values)
            found = torch.autograd.grad(number.sum(), list(read.values()), allow_unused=True)
        none = {site: torch.zeros_like(value) for site, value in read.items()}
        gradients = {s + GRADIENT: none[s] if g is None else g for s, g in zip(read, found, strict=True)}
        return {site: value.detach() for site, value in read.items()} | gradients


def _type(name: str) -> torch.dtype:
    return getattr(torch, name)
