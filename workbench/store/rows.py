"""Which token each captured row belongs to."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """The row table of one side: what row n of every `per="row"` site stands for."""

    input: Int[Tensor, " row"]
    """Index of the input, counted from 0 in the order given to `capture`."""
    position: Int[Tensor, " row"]
    """Position within that input, counted from 0 over valid (not padded) tokens."""
    token: Int[Tensor, " row"]
    """Token id; -1 where there is none (image patches, audio frames)."""
    label: tuple[str, ...]
    """Text of the token, or name of the patch."""

    def __len__(self) -> int:
        return len(self.input)

    def to_frame(self) -> "pd.DataFrame":
        """One line a row: input, position, token_id, label."""
        import pandas as pd

        columns = {"input": self.input, "position": self.position, "token_id": self.token}
        return pd.DataFrame({name: value.numpy() for name, value in columns.items()} | {"label": list(self.label)})

    @property
    def table(self) -> Int[Tensor, "row 3"]:
        """Input, position and token side by side."""
        return torch.stack([self.input, self.position, self.token], 1)

    @classmethod
    def of(cls, table: Int[Tensor, "row 3"], label: Iterable[str]) -> "Rows":
        """The inverse of `table`."""
        return cls(input=table[:, 0], position=table[:, 1], token=table[:, 2], label=tuple(label))

    @classmethod
    def joined(cls, parts: Iterable["Rows"]) -> "Rows":
        """Several tables one after the other."""
        parts = tuple(parts)
        table = torch.cat([part.table for part in parts]) if parts else torch.zeros((0, 3), dtype=torch.int64)
        return cls.of(table, (label for part in parts for label in part.label))
