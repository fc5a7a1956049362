"""Which sites a capture keeps, and how each is laid out: found by running the shortest input of each kind once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from workbench.activations.batches import Batch, Inputs, Plan, valid
from workbench.errors import BadInput, MissingSite
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.store.columns import ITEMSIZE, RAGGED, Column

GRADIENT = ".grad"
"""Ending of the name under which the gradient at a site is kept."""


def matching(model: LensModel, sites: str | Iterable[str]) -> tuple[str, ...]:
    """The sites of the model that `sites` (names, or patterns such as `blocks.*.resid_post`) name, in its order."""
    wanted = [sites] if isinstance(sites, str) else list(sites)
    found: dict[str, None] = {}
    for pattern in wanted:
        hits = [name for name in model.sites if name == pattern or fnmatchcase(name, pattern)]
        if not hits:
            ends = dict.fromkeys(name.partition(".")[2].partition(".")[2] or name for name in model.sites)
            raise MissingSite(
                f"{model.name} has no site {pattern!r}. Sites look like {next(iter(model.sites))!r}; patterns such as"
                f" 'blocks.*.resid_post' work too. Endings there are: {', '.join(ends)}."
            )
        found |= dict.fromkeys(hits)
    if not found:
        raise BadInput("Name at least one site to capture, such as 'blocks.*.resid_post'.")
    return tuple(name for name in model.sites if name in found)


def sides(model: LensModel, site: str) -> tuple[str, ...]:
    """The side of each ragged axis of a site: of its rows, or of its queries and keys."""
    head, _, part = site.partition(".")
    crossed = ".cross_attn." in site
    side = "input"
    for stack in model.stacks:
        lead = stack.prefix.removesuffix("blocks")
        if head == stack.prefix or (
            not part and head in {f"{lead}{own}" for own in ("embed", "pos_embed", "ln_final")}
        ):
            side = stack.side
    if "key" in model.sites[site].shape:
        return (side, "input" if crossed else side)
    return ("input" if crossed and part.rpartition(".")[2] in {"k", "v", "rot_k"} else side,)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The sites of a capture, and how many positions each input has on each side they touch."""

    columns: tuple[Column, ...]
    lengths: Mapping[str, tuple[int, ...]]

    def of(self, number: int) -> dict[str, int]:
        """The lengths of one input, by side."""
        return {side: counts[number] for side, counts in self.lengths.items()}

    def bytes_of(self, numbers: Iterable[int]) -> dict[str, int]:
        """Site -> bytes of its values on these inputs."""
        every = [self.of(number) for number in numbers]
        return {column.name: sum(map(column.entry_bytes, every)) for column in self.columns}


def choose(inputs: Inputs, plan: Plan, sites: Sequence[str], dtype: str | None, gradients: bool) -> Choice:
    """Run the shortest input of each kind to see shapes and types; the other lengths follow from the token counts."""
    model, columns = inputs.model, ()
    lengths: dict[str, dict[int, int]] = {}
    weight = list(zip(*plan.tokens.values(), strict=True)) or [()] * len(inputs)
    for kind in dict.fromkeys(plan.groups.values()):
        members = [number for number in plan.groups if plan.groups[number] == kind]
        shortest = min(members, key=lambda number: sum(weight[number]))
        batch = inputs.encode(shortest)
        with torch.no_grad(), reading(model, sites) as values:
            model.module(**batch)
            columns = tuple(_column(model, site, values[site], dtype) for site in sites)
            seen = _positions(columns, values)
        for side, positions in seen.items():
            counts = plan.tokens.get(side)
            follows = counts is not None and _tokens(inputs, batch, side) == positions
            for number in members:
                known = counts[number] if follows and counts is not None else positions
                lengths.setdefault(side, {})[number] = known
    if gradients:
        columns += tuple(Column(**{**vars(column), "name": column.name + GRADIENT}) for column in columns)
    order = range(len(inputs))
    return Choice(columns=columns, lengths={s: tuple(counts[n] for n in order) for s, counts in lengths.items()})


def _tokens(inputs: Inputs, batch: Batch, side: str) -> int | None:
    ids = batch.get(inputs.ids.get(side, ""))
    return None if ids is None else ids.shape[1]


def _column(model: LensModel, site: str, value: Tensor, dtype: str | None) -> Column:
    axes, kept = model.sites[site].shape, dtype or str(value.dtype).removeprefix("torch.")
    if kept not in ITEMSIZE:
        raise BadInput(f"There is no type {kept!r}; choose float32, float16 or bfloat16.")
    row = "pos" in axes
    skip = 2 if row else 1
    shape = tuple(0 if axis in RAGGED else size for axis, size in zip(axes[skip:], value.shape[skip:], strict=True))
    return Column(
        name=site, axes=axes[skip:], shape=shape, per="row" if row else "input", sides=sides(model, site), dtype=kept
    )


def _positions(columns: Iterable[Column], values: Mapping[str, Tensor]) -> dict[str, int]:
    """Positions on each side, as the values have them."""
    seen: dict[str, int] = {}
    for column in columns:
        value = values[column.name]
        sizes = (
            [value.shape[1]]
            if column.per == "row"
            else [value.shape[1 + i] for i, n in enumerate(column.shape) if not n]
        )
        for side, size in zip(column.sides, sizes, strict=True):
            if seen.setdefault(side, size) != size:
                raise BadInput(f"{column.name!r} has {size} positions where another site of its side has {seen[side]}.")
    return seen


def cut(column: Column, value: Tensor, batch: Batch, count: int) -> list[Tensor]:
    """What each of the `count` inputs of a batch has at a site, without padding; views where that is possible."""
    if value.shape[0] == 1 != count:  # position embeddings are computed once for the whole batch
        value = value.expand(count, *value.shape[1:])
    ragged = [1] if column.per == "row" else [axis + 1 for axis, size in enumerate(column.shape) if not size]
    masks = [valid(batch, side, value.shape[axis]) for axis, side in zip(ragged, column.sides, strict=True)]
    entries = []
    for number in range(count):
        entry = value[number]
        for axis, mask in zip(ragged, masks, strict=True):
            if mask is not None:
                entry = _kept(entry, axis - 1, mask[number])
        entries.append(entry)
    return entries


def _kept(entry: Tensor, axis: int, mask: Tensor) -> Tensor:
    length = int(mask.sum())
    if mask[:length].all():  # padded on the right: a view will do
        return entry.narrow(axis, 0, length)
    return entry.index_select(axis, mask.nonzero()[:, 0])
