"""What a task is: prompts in pairs, clean and corrupted, with the answers that tell the two apart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

NO_ANSWER = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A batch of pairs of prompts, all of one length: nothing is padded."""

    clean: Mapping[str, Tensor]
    """What the module takes, as `model.encode` gives it."""
    corrupted: Mapping[str, Tensor]
    """The same with prompts whose answer is another; of equal length in tokens."""
    targets: Int[Tensor, "batch target"]
    """Ids of the answers that are right for the clean prompts; -1 where a row has fewer."""
    foils: Int[Tensor, "batch foil"]
    """Ids of the answers that are wrong for the clean prompts; -1 where a row has fewer."""
    position: Int[Tensor, "batch"]
    """Where the answer is read."""
    numbers: tuple[int, ...] = ()
    """Which examples of the task these are, counted from 0."""

    def __len__(self) -> int:
        return len(self.position)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One pair of prompts in the tokens of one model."""

    clean: tuple[int, ...]
    """Token ids, special ones included."""
    corrupted: tuple[int, ...]
    targets: tuple[int, ...]
    foils: tuple[int, ...]
    position: int
    """Where the answer is read, counted from 0."""
    texts: tuple[str, str]
    """The two prompts as a person reads them."""
    start: tuple[int, ...] = ()
    """Ids that the decoder of an encoder-decoder is given after its own start token."""
    tag: str = ""
    """What kind of example it is, such as "ABBA"; "" where there is one kind."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Doing:
    """Whether a model does a task, in numbers; `workbench.tasks.doable` makes it and says what decides."""

    model: str
    task: str
    metric: str
    clean: float
    """Mean of the metric over the clean prompts, in the metric's unit."""
    corrupted: float
    """The same over the corrupted prompts, with the answers of the clean ones."""
    accuracy: float
    """Share of clean prompts on which the targets are ahead of the foils."""
    top: float
    """Share of clean prompts on which the model's first answer of all is a target."""
    without_gap: int
    """Examples on which the metric is no higher for the clean prompt than for the corrupted one."""
    examples: int
    why_not: str
    """A sentence on why the model does not do the task; "" when it does."""

    @property
    def gap(self) -> float:
        """How far the metric falls when the prompts are corrupted."""
        return self.clean - self.corrupted


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Examples of one task that one model can read, and what became of those it cannot."""

    name: str
    model: str
    """The name of the model that they were made for."""
    metric: str
    """One of `workbench.functional.METRICS`."""
    examples: tuple[Example, ...]
    made: int
    """How many different examples were tried."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> how many examples were left out for it."""
    note: str = ""
    """What was adapted to the model's tokens; "" when there is nothing to say."""
    doing: Doing | None = None
    """How well the model does it, where that was measured."""

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def clean(self) -> tuple[str, ...]:
        """The clean prompts as text."""
        return tuple(example.texts[0] for example in self.examples)

    @property
    def corrupted(self) -> tuple[str, ...]:
        """The corrupted prompts as text."""
        return tuple(example.texts[1] for example in self.examples)

    @property
    def targets(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of each example's right answers."""
        return tuple(example.targets for example in self.examples)

    @property
    def foils(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of each example's wrong answers."""
        return tuple(example.foils for example in self.examples)

    @property
    def tags(self) -> tuple[str, ...]:
        """The kind of each example."""
        return tuple(example.tag for example in self.examples)

    @property
    def said(self) -> str:
        """How many examples there are and why others are not, in a sentence or two."""
        left = "; ".join(f"{count} because {reason}" for reason, count in sorted(self.dropped.items()))
        first = f"{len(self)} of {counted(self.made, 'example')} of {self.name} can be used with {self.model}"
        return " ".join(filter(None, [first + (f", left out: {left}." if left else "."), self.note]))

    def first(self, count: int) -> "Task":
        """The same with the first `count` examples alone, not measured."""
        return replace(self, examples=self.examples[:count], doing=None)

    def pairs(self, model: "LensModel", batch_size: int = 16) -> Iterator[Pair]:
        """The examples in batches of one length each, the shortest first; `Pair.numbers` says which are in it."""
        if batch_size < 1:
            raise BadInput(f"batch_size must be a whole number of at least 1, not {batch_size!r}.")
        lengths: dict[int, list[int]] = {}
        for number, example in enumerate(self.examples):
            lengths.setdefault(len(example.clean), []).append(number)
        for _, numbers in sorted(lengths.items()):
            for at in range(0, len(numbers), batch_size):
                yield self._pair(model, tuple(numbers[at : at + batch_size]))

    def _pair(self, model: "LensModel", numbers: tuple[int, ...]) -> Pair:
        chosen = [self.examples[number] for number in numbers]
        return Pair(
            clean=_batch(model, [example.clean for example in chosen], chosen[0].start),
            corrupted=_batch(model, [example.corrupted for example in chosen], chosen[0].start),
            targets=_filled([example.targets for example in chosen]).to(model.device),
            foils=_filled([example.foils for example in chosen]).to(model.device),
            position=torch.tensor([example.position for example in chosen], device=model.device),
            numbers=numbers,
        )


def counted(n: int, what: str) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _batch(model: "LensModel", rows: list[tuple[int, ...]], start: tuple[int, ...]) -> dict[str, Tensor]:
    batch = model.encode(torch.tensor(rows))
    if start:
        own = batch["decoder_input_ids"]
        batch["decoder_input_ids"] = torch.cat([own, own.new_tensor(start).expand(len(rows), -1)], dim=1)
    return batch


def _filled(rows: list[tuple[int, ...]]) -> Tensor:
    width = max(1, *map(len, rows))
    return torch.tensor([[*row, *[NO_ANSWER] * (width - len(row))] for row in rows])
