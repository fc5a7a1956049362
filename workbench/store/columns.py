"""How one site is laid out in captured activations: row by row, or one ragged entry for each input."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ITEMSIZE = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "uint8": 1, "bool": 1}
"""Bytes of one number, by torch's name of its type."""
RAGGED = ("pos", "query", "key")
"""Axes whose length is the number of valid positions, so differs from input to input."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One site as it is kept: `per="row"` has one row for each valid token, `per="input"` one entry for each input."""

    name: str
    axes: tuple[str, ...]
    """Names of the axes of one row, or of one entry."""
    shape: tuple[int, ...]
    """Their sizes; 0 stands for an axis whose size differs from input to input."""
    per: Literal["row", "input"]
    sides: tuple[str, ...]
    """For a row, the side its rows belong to; for an entry, the side of each axis of size 0, in order."""
    dtype: str

    @property
    def side(self) -> str:
        """The side whose row table describes this site: of the rows, or of the queries."""
        return self.sides[0]

    def entry_shape(self, lengths: Mapping[str, int]) -> tuple[int, ...]:
        """Shape of what one input with `lengths` valid positions (by side) has here, rows first."""
        if self.per == "row":
            return (lengths[self.side], *self.shape)
        sides = iter(self.sides)
        return tuple(size or lengths[next(sides)] for size in self.shape)

    def entry_bytes(self, lengths: Mapping[str, int]) -> int:
        """Bytes of what one input has here."""
        return math.prod(self.entry_shape(lengths)) * ITEMSIZE[self.dtype]
