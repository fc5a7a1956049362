"""Indirect objects: of two people one gives something, so the other gets it."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.tasks.draft import Draft
from workbench.tasks.word_lists import words

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader


def gifts(_: "Reader", random: Random) -> Iterator[Draft]:
    """Mary and John went to the store, John gave a drink to: Mary, not John.

    The two names stand in one order (ABBA) or the other (BABA); corrupted are three other names, of which none comes
    twice. Wang et al. (2022), Interpretability in the Wild.
    """
    names = [name for group in words("names").values() for name in group]
    found = words("giving")
    while True:
        receiver, giver, *others = random.sample(names, 5)
        fixed = {"place": random.choice(found["places"]), "thing": random.choice(found["things"])}
        text, tag = random.choice(found["templates"]), random.choice(("ABBA", "BABA"))
        first, second = (receiver, giver) if tag == "ABBA" else (giver, receiver)
        yield Draft(
            clean=text.format(first=first, second=second, giver=giver, **fixed),
            corrupted=text.format(first=others[0], second=others[1], giver=others[2], **fixed),
            targets=(f" {receiver}",),
            foils=(f" {giver}",),
            tag=tag,
        )
