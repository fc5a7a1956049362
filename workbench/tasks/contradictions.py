"""Context against prior knowledge: the text says one capital, and the world has another."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.tasks.draft import Draft
from workbench.tasks.word_lists import words

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader


def contexts(_: "Reader", random: Random) -> Iterator[Draft]:
    """In this story, the capital of France is Rome. In this story, the capital of France is: Rome, not Paris.

    Corrupted, the text agrees with the world (tag "agrees": Paris is named) or speaks of the country that it is true
    of (tag "elsewhere": the capital of Italy is Rome), so that only prior knowledge answers. Minder et al. (2024),
    Controllable Context Sensitivity and the Knob Behind It.
    """
    found, capitals = words("contradictions"), words("capitals")["capitals"]
    while True:
        (prior, country), (city, elsewhere) = random.sample(capitals, 2)
        text, place = random.choice(found["templates"]), random.choice(found["places"])
        tag = random.choice(("agrees", "elsewhere"))
        told = {"told": country, "city": prior} if tag == "agrees" else {"told": elsewhere, "city": city}
        yield Draft(
            clean=text.format(place=place, told=country, city=city, asked=country),
            corrupted=text.format(place=place, asked=country, **told),
            targets=(f" {city}",),
            foils=(f" {prior}",),
            tag=tag,
        )
