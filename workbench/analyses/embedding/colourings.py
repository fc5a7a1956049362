"""What the points of a joint embedding can be coloured by: what is known of the row that each stands for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from workbench import functional
from workbench.errors import BadInput, UnknownName

MOST_TOKENS = 12
"""Tokens with a colour of their own; the rest is "other"."""


@runtime_checkable
class _PointsLike(Protocol):
    """What colourings read: `Points`, and both results of joint embeddings."""

    @property
    def is_key(self) -> Tensor: ...

    @property
    def input(self) -> Tensor: ...

    @property
    def position(self) -> Tensor: ...

    @property
    def traits(self) -> Tensor: ...

    @property
    def trait_names(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def tags(self) -> tuple[str, ...]: ...

    @property
    def groups(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Colouring:
    """One number a point: which category it is in, or how much it has of something."""

    name: str
    kind: Literal["category", "number", "circular"]
    values: np.ndarray | None
    """(point,) in float64: the index of a category, a number, or a turn from 0 to 1; NaN where it is not known. None
    where it differs from head to head: the norms of a result."""
    categories: tuple[str, ...] = ()


def colourings(points: _PointsLike, modulo: int = 5) -> dict[str, Colouring]:
    """Every colouring that has something to tell, by name: "query or key" first."""
    if modulo < 2:
        raise BadInput(f"Positions are grouped modulo 2 or more, not {modulo}.")
    position = points.position.numpy().astype(float)
    found = [
        category("query or key", np.where(points.is_key.numpy(), "key", "query").tolist(), ("query", "key")),
        Colouring(name="position", kind="number", values=position),
        Colouring(
            name="position mod",
            kind="category",
            values=position % modulo,
            categories=tuple(f"{rest} mod {modulo}" for rest in range(modulo)),
        ),
        Colouring(name="norm", kind="number", values=None),
    ]
    if len(set(points.labels)) < len(points.labels) / 2 and not points.trait_names:
        found.append(category("token", points.labels, most=MOST_TOKENS))
    if any(points.tags):
        found.append(category("part of speech", points.tags))
    if len({group for group in points.groups if group}) > 1:
        found.append(category("group", [points.groups[i] for i in points.input.tolist()]))
    for name, values in zip(points.trait_names, points.traits.T.double().numpy(), strict=True):
        kind = "circular" if name in functional.CIRCULAR_TRAITS else "number"
        found.append(Colouring(name=name, kind=kind, values=values))
    return {one.name: one for one in found}


def chosen(points: _PointsLike, name: str, modulo: int = 5) -> Colouring:
    """One colouring by name; an unknown one is an error that says which there are."""
    there = colourings(points, modulo)
    if name not in there:
        raise UnknownName("colouring", name, there)
    return there[name]


def category(name: str, texts: Sequence[str], order: Sequence[str] = (), *, most: int | None = None) -> Colouring:
    """Texts as categories, the most frequent first; beyond `most` they are "other", and "" is not known."""
    counts: Mapping[str, int] = Counter(text for text in texts if text)
    names = list(order) or sorted(counts, key=lambda text: (-counts[text], text))
    kept = names if most is None or len(names) <= most else [*names[:most], "other"]
    number: dict[str, float] = {text: float(min(i, len(kept) - 1)) for i, text in enumerate(names)}
    values = np.array([number.get(text, np.nan) for text in texts])
    return Colouring(name=name, kind="category", values=values, categories=tuple(kept))
