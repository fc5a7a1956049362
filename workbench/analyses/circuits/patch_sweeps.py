"""What can be patched place by place: which site of a layer, along which axes, and how one place of it is replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.capabilities import lacking
from workbench.errors import MissingCapability
from workbench.hooks import Edit
from workbench.models.lens_model import LensModel

SweepName = Literal["resid_pre", "resid_mid", "attn_out", "mlp_out", "heads", "queries", "keys", "values", "patterns"]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One kind of place."""

    part: str
    """Last part of the site's name."""
    of_attention: bool
    """Whether the site belongs to an attention and has heads."""
    needs: str
    text: str


SWEEPS: Mapping[str, Sweep] = MappingProxyType(
    {
        "resid_pre": Sweep(part="resid_pre", of_attention=False, needs="resid", text="the stream that enters a block"),
        "resid_mid": Sweep(part="resid_mid", of_attention=False, needs="resid", text="the stream after attention"),
        "attn_out": Sweep(part="attn_out", of_attention=False, needs="attn_out", text="what attention adds"),
        "mlp_out": Sweep(part="mlp_out", of_attention=False, needs="mlp_out", text="what the MLP adds"),
        "heads": Sweep(part="z", of_attention=True, needs="z", text="what a head gives"),
        "queries": Sweep(part="q", of_attention=True, needs="qk", text="a head's queries"),
        "keys": Sweep(part="k", of_attention=True, needs="qk", text="a head's keys"),
        "values": Sweep(part="v", of_attention=True, needs="z", text="a head's values"),
        "patterns": Sweep(part="pattern", of_attention=True, needs="pattern", text="a head's attention"),
    }
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Cells:
    """The places of one layer's site, one a row."""

    site: str
    heads: tuple[int | None, ...]
    """None is all heads, or a site without any."""
    positions: tuple[int | None, ...]
    """Along the position (or query) axis as the model has it; None is all positions."""

    def __len__(self) -> int:
        return len(self.heads)


def sites_of(model: LensModel, sweep: str, attention: str | None) -> tuple[str, ...]:
    """The site of each layer that a sweep goes through; what the model lacks is a sentence."""
    kind = SWEEPS[sweep]
    stack, short = model.attention(attention) if model.attentions else (model.main, "")
    part = f"{short}.{kind.part}" if kind.of_attention else kind.part
    if kind.part == "attn_out" and short:
        part = stack.row.attention[short].writes
    sites = tuple(f"{stack.prefix}.{layer}.{part}" for layer in range(stack.n_blocks))
    if not all(site in model.sites and model.sites[site].editable for site in sites):
        offered = [name for name in SWEEPS if name != sweep and _has(model, name, stack.prefix, short)]
        why = lacking(f"A sweep of {sweep}", model.name, {kind.needs}) if kind.needs not in model.capabilities else ""
        raise MissingCapability(
            why
            or f"{model.name} has no site {sites[0]!r}, which a sweep of {sweep} patches; it has {', '.join(offered)}."
        )
    return sites


def _has(model: LensModel, sweep: str, prefix: str, short: str) -> bool:
    kind = SWEEPS[sweep]
    return f"{prefix}.0.{f'{short}.{kind.part}' if kind.of_attention else kind.part}" in model.sites


def axes_of(model: LensModel, site: str) -> tuple[int | None, int]:
    """(axis of the heads, axis of the positions) of a site's value; batch is axis 0."""
    axes = model.site(site).shape
    head = next((i for i, name in enumerate(axes) if name in ("head", "kv_head")), None)
    return head, next(i for i, name in enumerate(axes) if name in ("pos", "query"))


def replaced(model: LensModel, cells: Cells, source: Tensor) -> Edit:
    """The edit that puts, into each row, the source's value at that row's place."""

    def edit(value: Tensor) -> Tensor:
        return torch.where(_marks(model, cells, value), source.to(value), value)

    return edit


def changing(model: LensModel, cells: Cells, base: Tensor, source: Tensor) -> Bool[Tensor, "row"]:
    """Which places differ at all between two values (batch of one): the others need not be run."""
    marks = _marks(model, cells, base)
    differ = (base != source).flatten(1)
    return (marks.expand(len(cells), *base.shape[1:]).flatten(1) & differ).any(1)


def chosen(cells: Cells, rows: Sequence[int]) -> Cells:
    """Some of the places."""
    return Cells(
        site=cells.site,
        heads=tuple(cells.heads[i] for i in rows),
        positions=tuple(cells.positions[i] for i in rows),
    )


def _marks(model: LensModel, cells: Cells, like: Tensor) -> Bool[Tensor, "row ..."]:
    marks = torch.ones(1, dtype=torch.bool, device=like.device)
    for axis, places in zip(axes_of(model, cells.site), (cells.heads, cells.positions), strict=True):
        if axis is None:
            continue
        one = torch.zeros(len(cells), like.shape[axis], dtype=torch.bool, device=like.device)
        for row, place in enumerate(places):
            one[row, slice(None) if place is None else place] = True
        shape = [1] * like.ndim
        shape[0], shape[axis] = one.shape
        marks = marks & one.view(shape)
    return marks
