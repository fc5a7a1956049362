"""Capital and country: a fact that is asked for by name."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.tasks.draft import Draft
from workbench.tasks.word_lists import words

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader


def countries(_: "Reader", random: Random) -> Iterator[Draft]:
    """Paris is the capital of: France, not Italy. Corrupted, Rome is.

    Hanna et al. (2024), Have Faith in Faithfulness.
    """
    found = words("capitals")
    while True:
        (capital, country), (other, elsewhere) = random.sample(found["capitals"], 2)
        text = random.choice(found["templates"])
        yield Draft(
            clean=text.format(capital=capital),
            corrupted=text.format(capital=other),
            targets=(f" {country}",),
            foils=(f" {elsewhere}",),
        )
