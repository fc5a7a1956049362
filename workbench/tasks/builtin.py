"""The tasks that come with the workbench, each with a sentence; nothing heavy is imported to name them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING

from workbench.tasks import (
    agreement,
    capitals,
    contradictions,
    greater_than,
    indirect_objects,
    pronouns,
    repeats,
    sums,
)
from workbench.tasks.draft import Draft

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader


@dataclass(frozen=True)
class Builtin:
    """One task before it is made for a model."""

    about: str
    """What it asks, with an example."""
    metric: str
    """How its answers are measured unless another metric is asked for."""
    drafts: Callable[["Reader", Random], Iterator[Draft]]
    """Examples without end, the same for the same random state."""
    adapted: Callable[["Reader"], str] = lambda reader: ""
    """What is done otherwise for this model's tokens; "" for nothing."""


BUILTIN: Mapping[str, Builtin] = MappingProxyType(
    {
        "ioi": Builtin(
            "Who gets it: Mary and John went to the store, John gave a drink to -> Mary.",
            "logit-diff",
            indirect_objects.gifts,
        ),
        "greater-than": Builtin(
            "A later year: the war lasted from the year 1732 to the year 17 -> 33 to 99.",
            "prob-diff",
            greater_than.year_spans,
            greater_than.digits,
        ),
        "sva": Builtin(
            "Subject-verb agreement: the keys near the cabinet -> are, were, have.", "prob-diff", agreement.subjects
        ),
        "gendered-pronoun": Builtin(
            "The pronoun of a name: so Peter is a really great friend, isn't -> he.", "logit-diff", pronouns.he_or_she
        ),
        "capital-country": Builtin(
            "The country of a capital: Paris is the capital of -> France.", "logit-diff", capitals.countries
        ),
        "induction": Builtin(
            "What came next before, in random tokens: a q x t a q -> x; corrupted changes what is copied.",
            "logit-diff",
            repeats.successors,
        ),
        "induction-match": Builtin(
            "What came next before, in random tokens; corrupted changes where it is found.",
            "logit-diff",
            repeats.matches,
        ),
        "addition": Builtin(
            "Two operands, after three worked sums: 3 + 4 = -> 7.", "logit-diff", sums.additions, sums.sizes
        ),
        "context-prior": Builtin(
            "The text against the world: in this story, the capital of France is Rome. In it, the capital is -> Rome.",
            "logit-diff",
            contradictions.contexts,
        ),
    }
)
"""Every built-in task by name."""


def names() -> tuple[str, ...]:
    """The names of the built-in tasks."""
    return tuple(BUILTIN)
