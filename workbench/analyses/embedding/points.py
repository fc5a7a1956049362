"""What is known of each point of a joint embedding: whose row it is, where it stands, and what is there."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional, media
from workbench.analyses.embedding.gathered import Gathered
from workbench.corpora import position_tags
from workbench.store.rows import Rows


@dataclass(frozen=True, eq=False, kw_only=True)
class Points:
    """What is known of each point of a joint embedding: first those that ask, then those that are asked."""

    is_key: Bool[Tensor, "point"]
    input: Int[Tensor, "point"]
    """Which of `texts`."""
    position: Int[Tensor, "point"]
    token: Int[Tensor, "point"]
    """Token id; -1 where there is none."""
    traits: Float[Tensor, "point trait"]
    """Of patches of pictures; NaN where a point has none."""
    trait_names: tuple[str, ...]
    labels: tuple[str, ...]
    tags: tuple[str, ...]
    """Part of speech; "" where it is not known."""
    texts: tuple[str, ...]
    """Each input as it can be shown: its text, or the path of its picture."""
    groups: tuple[str, ...]
    """What each text is about, or the folder of each picture; "" where it is not known."""
    reads: str
    attention: str


def points_of(found: Gathered) -> Points:
    """A point for each row that asks, then one for each that is asked."""
    place = {number: i for i, number in enumerate(found.chosen)}
    sides = (found.rows, found.key_rows)
    names, traits = _traits(found)
    tags = _tags(found)

    def looked_up(rows: Rows, table: dict[tuple[int, int], Any], missing: Any) -> list[Any]:
        where = zip(rows.input.tolist(), rows.position.tolist(), strict=True)
        return [table.get(at, missing) for at in where]

    nothing = torch.full((len(names),), torch.nan)
    known = [row for rows in sides for row in looked_up(rows, traits, nothing)]
    texts, groups = found.texts.titles, found.texts.groups
    return Points(
        attention=found.attention,
        reads=found.model.reads,
        is_key=torch.arange(len(sides[0]) + len(sides[1])) >= len(sides[0]),
        input=torch.tensor([place[number] for rows in sides for number in rows.input.tolist()]),
        position=torch.cat([rows.position for rows in sides]),
        token=torch.cat([rows.token for rows in sides]),
        labels=tuple(label for rows in sides for label in rows.label),
        tags=tuple(tag for rows in sides for tag in looked_up(rows, tags, "")),
        traits=torch.stack(known) if names else torch.zeros(len(known), 0),
        trait_names=names,
        texts=tuple(texts[number] for number in found.chosen),
        groups=tuple(groups[number] for number in found.chosen),
    )


def _tags(found: Gathered) -> dict[tuple[int, int], str]:
    """(input, position) -> part of speech, where the corpus knows it."""
    if found.texts.tags is None:
        return {}
    table = {}
    for number in found.chosen:
        if found.inputs[number] is not found.texts.inputs[number]:
            continue  # cut: which characters its tokens are is not known
        tags = position_tags(found.model, found.inputs[number], found.texts.tags[number])
        table |= {(number, position): tag for position, tag in enumerate(tags) if tag}
    return table


def _traits(found: Gathered) -> tuple[tuple[str, ...], dict[tuple[int, int], Float[Tensor, "trait"]]]:
    """Names of the traits of patches, and (input, position) -> their values; none for what is no picture."""
    names: tuple[str, ...] = ()
    table = {}
    places: dict[int, dict[int, tuple[int, int]]] = {}
    if found.model.reads == "image" or found.model.attention(found.attention)[0].side == "image":
        where = zip(found.rows.input.tolist(), found.rows.position.tolist(), found.rows.label, strict=True)
        for number, position, label in where:
            if (place := _place(label)) is not None:
                places.setdefault(number, {})[position] = place
    for number, patches in places.items():
        picture = media.seen(found.model, found.model.encode(found.inputs[number]))
        if picture is None:
            continue
        rows, columns = (max(place[i] for place in patches.values()) + 1 for i in range(2))
        traits = functional.patch_traits(picture, rows, columns)
        names = traits.names
        for position, (row, column) in patches.items():
            table[number, position] = traits.values[row * columns + column]
    return names, table


def _place(label: str) -> tuple[int, int] | None:
    """Row and column of a patch, as its label says; None for the class token."""
    row, comma, column = label.partition(",")
    return (int(row), int(column)) if comma and row.isdigit() and column.isdigit() else None
