"""`Activations`: captured values in memory, with the table that says which token each row belongs to."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from workbench.errors import BadInput, MissingSite
from workbench.store.columns import Column
from workbench.store.rows import Rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, kw_only=True)
class Activations:
    """Values by site. Sites of tokens are (row, ...), rows in the order of the inputs; see `rows()` for whose they are.

    Sites that are no rows of tokens (patterns, scores) hold one tensor for each input, cropped to its own length.
    """

    values: Mapping[str, Tensor | tuple[Tensor, ...]]
    columns: tuple[Column, ...]
    tables: Mapping[str, Rows]
    """Side ("input", "target", "image") -> its row table."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites it holds."""
        return tuple(self.values)

    def site(self, name: str) -> Tensor | tuple[Tensor, ...]:
        """All rows of a site, or all its entries."""
        if name not in self.values:
            raise MissingSite(f"{name!r} was not captured; there is {', '.join(self.values)}.")
        return self.values[name]

    def of_input(self, name: str, number: int) -> Tensor:
        """What one input has at a site: its rows, or its entry."""
        value = self.site(name)
        if isinstance(value, tuple):
            if not 0 <= number < len(value):
                raise BadInput(f"There are {len(value)} inputs, counted from 0; there is no number {number}.")
            return value[number]
        mine = self.rows(self._column(name).side).input == number
        if not mine.any():
            raise BadInput(f"There is no input number {number}; the last one is {int(self.rows().input.max())}.")
        return value[mine]

    def rows(self, side: str | None = None) -> Rows:
        """The row table of a side; by default that of the first site."""
        side = side or self.columns[0].side
        if side not in self.tables:
            raise BadInput(f"There are rows of {', '.join(self.tables)}, not of {side!r}.")
        return self.tables[side]

    def to_frame(self, side: str | None = None) -> "pd.DataFrame":
        """The row table as a frame: input, position, token_id, label."""
        return self.rows(side).to_frame()

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        every = (part for value in self.values.values() for part in (value if isinstance(value, tuple) else (value,)))
        return sum(part.nbytes for part in every)

    def __repr__(self) -> str:
        """One line: how many inputs, rows and sites, and their size."""
        n_inputs = len(self.rows().input.unique())
        names = ", ".join(self.sites[:3]) + (", ..." if len(self.sites) > 3 else "")
        size = f"{self.nbytes / 1e6:.1f} MB"
        return f"Activations({n_inputs} inputs, {len(self)} rows, {len(self.sites)} sites, {size}: {names})"

    def _repr_html_(self) -> str:
        import pandas as pd

        shapes = [f"{len(v)} tensors" if isinstance(v, tuple) else str(tuple(v.shape)) for v in self.values.values()]
        kinds = [column.dtype for column in self.columns]
        table = pd.DataFrame({"site": self.sites, "shape": shapes, "dtype": kinds})
        return f"<p>{html.escape(repr(self))}</p>{table.to_html(index=False, border=0, max_rows=20)}"

    def __len__(self) -> int:
        """Rows of the first site's side."""
        return len(self.rows())

    def _column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)
