"""Runs of a model on the values of a variable, with states changed on the way, and the answers among its tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import workbench
from workbench import LensModel, Variable, editing, track

AT_ONCE = 32
"""Rows of a batch."""


@dataclass(frozen=True, eq=False)
class AnswerReader:
    """Runs a model on values in a template and reads the logits of the variable's tokens."""

    model: LensModel
    values: Variable
    template: str
    site: str
    ids: Tensor

    def __call__(self, rows: Sequence[int], changes: Float[np.ndarray, "row d"] | None) -> Float[Tensor, "row answer"]:
        """Logits in double precision where the answer stands; each row's state at the value is changed first."""
        placed = workbench.variables.placed(self.model, self.values, self.template, "value")
        last = workbench.variables.placed(self.model, self.values, self.template, "last")
        found = torch.zeros(len(rows), len(self.ids), dtype=torch.float64)
        for part in track(list(alike([len(placed[row].ids) for row in rows])), label="runs"):
            batch = self.model.encode(torch.tensor([placed[rows[i]].ids for i in part]))
            at = torch.tensor([placed[rows[i]].position for i in part])
            ends = torch.tensor([last[rows[i]].position for i in part])
            edits = {}
            if changes is not None:
                added = torch.tensor(changes[part])

                def moved(stream: Tensor, at: Tensor = at, added: Tensor = added) -> Tensor:
                    there = torch.arange(len(at)), at
                    changed = stream.clone()
                    changed[there] += added.to(stream)
                    return changed

                edits = {self.site: moved}
            with editing(self.model, edits):
                logits = self.model.logits(batch)
            found[part] = logits[torch.arange(len(part)), ends][:, self.ids.to(logits.device)].double().cpu()
        return found


def alike(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of rows of one length, some at a time."""
    for length in sorted(set(lengths)):
        rows = [i for i, one in enumerate(lengths) if one == length]
        yield from (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE))
