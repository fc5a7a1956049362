"""What a variable is: an ordered list of values, evenly spaced, each with a text and perhaps a token of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Int
from torch import Tensor

from workbench.errors import BadInput

NAMED = 4
"""Values that a message names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Variable:
    """Values in order, and their tokens in one model."""

    name: str
    """How it was asked for, such as "days" or "0-99"."""
    labels: tuple[str, ...]
    """Each value as a person reads it."""
    texts: tuple[str, ...]
    """What stands in a prompt, without a space before it; empty for positions."""
    values: tuple[float, ...]
    """Each value as a number, evenly spaced; the count from 0 where the values are no numbers."""
    ids: Int[Tensor, "value"] | None = None
    """The token of each value; None where some value has none, or no model was given."""
    spaced: bool = False
    """Whether the space before a value belongs to its token: the form in which more values are one token."""
    cyclic: bool = False
    """Whether the first value comes after the last, as with days."""
    spacing: float = 1.0
    """From one value to the next."""
    unit: str = "values"
    """What one step is called, in the plural."""
    model: str = ""
    """The name of the model whose tokens these are."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Value -> why it has no token of its own."""
    by_id: bool = False
    """Whether it was given as token ids: these then go into prompts as they are."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def of_positions(self) -> bool:
        """Whether its values are places in the input."""
        return not self.texts

    def period(self, frequency: int) -> float:
        """How far one cycle reaches, in the variable's own unit; `frequency` counts cycles over all values."""
        if frequency < 1:
            raise BadInput(f"The constant has no period: a frequency counts from 1, not {frequency}.")
        return len(self) * self.spacing / frequency

    def tokens(self) -> Int[Tensor, "value"]:
        """The token of each value, or `BadInput` that names those that have none."""
        if self.ids is not None:
            return self.ids
        if self.of_positions:
            raise BadInput("positions are places in the input and have no tokens. Choose a variable of tokens.")
        if not self.model:
            raise BadInput(f"Which tokens {self.name} has depends on the model: workbench.variable(name, model).")
        raise BadInput(
            f"{len(self.left_out)} of the {len(self)} values of {self.name} are not one token in {self.model}: "
            f"{listed(self.left_out)}. Choose values of one token each ('digits', 'letters', a list of your own), or"
            " read states in a template instead."
        )

    @property
    def said(self) -> str:
        """How many values there are and which form of their tokens is taken, in a sentence or two."""
        ends = f"{self.labels[0]!r} to {self.labels[-1]!r}"
        first = f"{self.name}: {len(self)} values, {ends}{', then from the start again' if self.cyclic else ''}"
        if self.ids is not None and not self.by_id:
            return f"{first}, one token each, with{'' if self.spaced else 'out'} a space before."
        if self.left_out:
            return f"{first}. Not one token in {self.model}: {listed(self.left_out)}."
        return f"{first}."


def listed(left_out: Mapping[str, str]) -> str:
    """The first values that have no token, with the reasons."""
    named = "; ".join(f"{label!r} {why}" for label, why in list(left_out.items())[:NAMED])
    more = len(left_out) - NAMED
    return named + (f"; and {more} more" if more > 0 else "")
