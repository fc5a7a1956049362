"""`ActivationStore`: captured activations on disk. Opening reads the manifest; a slice reads only its own bytes."""

import hashlib
import json
import math
from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.errors import BadFile, BadInput, MissingSite
from workbench.store.columns import ITEMSIZE, Column
from workbench.store.manifest import Manifest, Shard, read_manifest
from workbench.store.rows import Rows
from workbench.store.shards import ShardReader

if TYPE_CHECKING:
    import pandas as pd

MOST_OPEN = 512
"""Shards whose headers are kept in memory, some 20 kB each."""


class ActivationStore:
    """Rows of activations by site, and the table that says which token each row belongs to.

    Rows stand in the order of the inputs. Sites that are no rows of tokens (patterns, scores) have one entry for each
    input. A store that is still being written, or was stopped, holds the inputs that are done.
    """

    manifest: Manifest

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._open: dict[int, ShardReader] = {}
        self._ends_of: dict[str, np.ndarray] = {}

    def __repr__(self) -> str:
        state = "complete" if self.complete else f"{len(self.manifest.shards)} of {self.manifest.batches} batches"
        return f"ActivationStore({str(self.folder)!r}: {self.manifest.model['name']}, {len(self.sites)} sites, {state})"

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites it holds."""
        return tuple(column.name for column in self.manifest.sites)

    @property
    def complete(self) -> bool:
        """Whether every input is there; if not, the same capture with `store=` goes on."""
        return len(self.manifest.shards) == self.manifest.batches

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Indices of the inputs it holds, in order."""
        return tuple(sorted(number for shard in self.manifest.shards for number in shard.inputs))

    def __len__(self) -> int:
        """Rows of the first site's side."""
        return int(self._ends(self.manifest.sites[0].side)[-1])

    @property
    def nbytes(self) -> int:
        """Bytes of all values, as they would be in memory."""
        every = (lengths for shard in self.manifest.shards for lengths in _each(shard))
        return sum(column.entry_bytes(lengths) for lengths in every for column in self.manifest.sites)

    def site(self, name: str) -> Tensor | tuple[Tensor, ...]:
        """All rows of a site, or all its entries; for more than memory holds use `shards` or `slice`."""
        return self.slice(name)

    def slice(self, name: str, start: int = 0, stop: int | None = None) -> Tensor | tuple[Tensor, ...]:
        """Rows `start:stop` of a site as one tensor; of a site without rows, the entries of inputs `start:stop`."""
        column = self._column(name)
        if column.per == "input":
            return tuple(self._entry(column, number) for number in self.inputs[start:stop])
        ends = self._ends(column.side)
        start, stop, _ = slice(start, stop).indices(int(ends[-1]))
        out = torch.empty((max(stop - start, 0), *column.shape), dtype=getattr(torch, column.dtype))
        for shard, first, last, parts in _runs(self._pieces(column.side, start, stop)):
            run = self._reader(shard).rows(name, first, last)
            for low, high, at in parts:
                out[at : at + high - low] = run[low - first : high - first]
        return out

    def of_input(self, name: str, number: int) -> Tensor:
        """What one input has at a site: its rows, or its entry."""
        column = self._column(name)
        if number not in self._where:
            raise BadInput(f"{self.folder} holds {len(self.inputs)} inputs, and number {number} is not among them.")
        if column.per == "input":
            return self._entry(column, number)
        shard, at = self._where[number]
        first = sum(shard.lengths[column.side][:at])
        return self._reader(shard).rows(name, first, first + shard.lengths[column.side][at])

    def shards(self, name: str) -> Iterator[Tensor | tuple[Tensor, ...]]:
        """The site shard by shard, in the order of writing: the way to stream over more than memory holds."""
        column = self._column(name)
        for shard in self.manifest.shards:
            if column.per == "input":
                yield tuple(self._entry(column, number) for number in shard.inputs)
            else:
                yield self._reader(shard).rows(name, 0, sum(shard.lengths[column.side]))

    def rows(self, side: str | None = None) -> Rows:
        """The row table of a side ("input", "target", "image"); by default that of the first site."""
        side = side or self.manifest.sites[0].side
        parts: dict[int, Rows] = {}
        for shard in self.manifest.shards:
            if side not in shard.lengths:
                raise BadInput(f"{self.folder} has rows of {', '.join(shard.lengths)}, not of {side!r}.")
            reader, total = self._reader(shard), sum(shard.lengths[side])
            size = reader.header[f"labels/{side}"]["shape"][0]
            labels = json.loads(bytes(reader.entry(f"labels/{side}", 0, 0, (size,), size).numpy()))
            table, at = reader.rows(f"rows/{side}", 0, total), 0
            for number, length in zip(shard.inputs, shard.lengths[side], strict=True):
                parts[number] = Rows.of(table[at : at + length], labels[at : at + length])
                at += length
        return Rows.joined(parts[number] for number in sorted(parts))

    def to_frame(self, side: str | None = None) -> "pd.DataFrame":
        """The row table as a frame: input, position, token_id, label."""
        return self.rows(side).to_frame()

    def verify(self) -> tuple[str, ...]:
        """What is wrong with each bad shard; empty when all is well. Reads the whole store once.

        Running the same capture on the store again makes the bad shards anew.
        """
        return tuple(problem for shard in self.manifest.shards if (problem := damage(self.folder, shard)))

    def _column(self, name: str) -> Column:
        column = self.manifest.column(name)
        if column is None:
            raise MissingSite(f"{self.folder} holds {', '.join(self.sites)}, not {name!r}.")
        return column

    @cached_property
    def _where(self) -> dict[int, tuple[Shard, int]]:
        """Input -> its shard, and its place in it."""
        return {number: (shard, at) for shard in self.manifest.shards for at, number in enumerate(shard.inputs)}

    def _ends(self, side: str) -> np.ndarray:
        """Row at which each input begins, and the number of rows at the end."""
        if side not in self._ends_of:
            places = (self._where[number] for number in self.inputs)
            self._ends_of[side] = np.cumsum([0, *(shard.lengths[side][at] for shard, at in places)])
        return self._ends_of[side]

    def _pieces(self, side: str, start: int, stop: int) -> Iterator[tuple[Shard, int, int, int]]:
        """(shard, first row in it, last, place in the answer) for rows `start:stop`, neighbours joined."""
        ends = self._ends(side)
        joined: list[tuple[Shard, int, int, int]] = []
        for order in range(int(np.searchsorted(ends, start, "right")) - 1, len(self.inputs)):
            if ends[order] >= stop:
                break
            shard, at = self._where[self.inputs[order]]
            base = sum(shard.lengths[side][:at]) - int(ends[order])
            low, high = max(start, int(ends[order])), min(stop, int(ends[order + 1]))
            if joined and joined[-1][0] is shard and joined[-1][2] == base + low:
                joined[-1] = (shard, joined[-1][1], base + high, joined[-1][3])
            elif high > low:
                joined.append((shard, base + low, base + high, low - start))
        return iter(joined)

    def _entry(self, column: Column, number: int) -> Tensor:
        shard, at = self._where[number]
        shapes = [column.entry_shape(lengths) for lengths in _each(shard)]
        sizes = [math.prod(shape) * ITEMSIZE[column.dtype] for shape in shapes]
        return self._reader(shard).entry(column.name, at, sum(sizes[:at]), shapes[at], sizes[at])

    def _reader(self, shard: Shard) -> ShardReader:
        if shard.batch not in self._open:
            if len(self._open) == MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[shard.batch] = ShardReader(self.folder, shard)
        return self._open[shard.batch]


def _runs(
    pieces: Iterator[tuple[Shard, int, int, int]],
) -> Iterator[tuple[Shard, int, int, list[tuple[int, int, int]]]]:
    """(shard, first row, last, its pieces (first, last, place)): pieces that touch in the file are read as one.

    Inputs that were sorted by length lie in a shard in another order than in the answer, each a piece of its own.
    """
    of_shard: dict[int, tuple[Shard, list[tuple[int, int, int]]]] = {}
    for shard, *piece in pieces:
        of_shard.setdefault(shard.batch, (shard, []))[1].append((piece[0], piece[1], piece[2]))
    for shard, parts in of_shard.values():
        run: list[tuple[int, int, int]] = []
        for part in sorted(parts):
            if run and run[-1][1] != part[0]:
                yield shard, run[0][0], run[-1][1], run
                run = []
            run.append(part)
        yield shard, run[0][0], run[-1][1], run


def _each(shard: Shard) -> Iterator[dict[str, int]]:
    """The lengths of each input in a shard, by side."""
    for at in range(len(shard.inputs)):
        yield {side: counts[at] for side, counts in shard.lengths.items()}


def damage(folder: Path, shard: Shard) -> str | None:
    """A sentence on what is wrong with a shard's file, or None."""
    try:
        ShardReader(folder, shard)
        with (folder / shard.file).open("rb") as file:
            intact = hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
    except (BadFile, OSError) as error:
        return str(error)
    return None if intact else f"{folder / shard.file}: its content does not match its checksum"
