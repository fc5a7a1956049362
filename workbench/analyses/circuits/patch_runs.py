"""Many changed runs of one prompt at once: from the first changed block on where the model allows it, else in full."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.analyses.attribution.perturb import repeated
from workbench.analyses.attribution.target import Target, answers_of
from workbench.circuits.blocks import Calls, answers, recorded, run_blocks
from workbench.errors import MissingCapability
from workbench.hooks import Edit, editing
from workbench.models.lens_model import LensModel

MOST_BYTES, MOST_ROWS = 2**27, 64
"""A batch of rows holds about an eighth of a gigabyte of values at a time, by a rough estimate."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Base:
    """A run that others differ from in one place each."""

    model: LensModel
    batch: Mapping[str, Tensor]
    target: Target
    index: int
    """Position in the batch at which the state is read out."""
    calls: Calls | None
    """What its blocks were called with; None where the model can only be run whole."""

    @property
    def rows_at_once(self) -> int:
        """How many changed runs go into one batch."""
        length = max(value.shape[-1] for value in self.batch.values())
        return rows_at_once(self.model, length, whole=self.calls is None)


def rows_at_once(model: LensModel, length: int, *, whole: bool = False) -> int:
    """How many runs of a prompt of that length fit into one batch; `whole` ones give answers at every position."""
    sizes = model.main.sizes
    answers = 2 * model.vocab_size if whole else 0
    return max(
        1, min(MOST_ROWS, MOST_BYTES // (4 * length * (4 * length * sizes.n_heads + 24 * sizes.d_model + answers)))
    )


@torch.no_grad()
def base_of(model: LensModel, batch: Mapping[str, Tensor], target: Target) -> Base:
    """The run of a batch of one. One forward pass; models with an encoder and a decoder are run whole each time."""
    index = target.index if model.classes is None else model.answer_position(batch)
    try:
        calls = recorded(model, batch)
        answers(model, calls.streams[-1][:, index])
    except MissingCapability:
        calls = None
    return Base(model=model, batch=batch, target=target, index=index, calls=calls)


@torch.no_grad()
def changed_answers(base: Base, layer: int, rows: int, edits: Mapping[str, Edit]) -> Float[Tensor, "rows vocab"]:
    """Answers of `rows` copies of the run, with edits of sites in `layer` of the main stack or later."""
    if base.calls is None:
        with editing(base.model, edits):
            output = base.model.module(**{name: repeated(value, rows) for name, value in base.batch.items()})
        return base.target.row(answers_of(output))
    stream = base.calls.streams[layer]
    with editing(base.model, edits):
        last = run_blocks(base.calls, layer, stream.expand(rows, *stream.shape[1:]))
        return base.target.row(answers(base.model, last[:, base.index]))
