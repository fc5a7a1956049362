"""Subject-verb agreement: the verb follows the subject and not the noun next to it."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.tasks.draft import Draft
from workbench.tasks.word_lists import words

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader

NUMBERS = ("singular", "plural")


def subjects(_: "Reader", random: Random) -> Iterator[Draft]:
    """The keys near the cabinet: are, were, have, not is, was, has. Corrupted, there is one key.

    The tag says the number of both nouns. Linzen et al. (2016), Assessing the Ability of LSTMs to Learn
    Syntax-Sensitive Dependencies.
    """
    found = words("numbers_of_nouns")
    verbs = [tuple(f" {pair[number]}" for pair in found["verbs"]) for number in range(2)]
    while True:
        subject, other = random.choice(found["subjects"]), random.choice(found["others"])
        number, near, link = random.randrange(2), random.randrange(2), random.choice(found["links"])
        if subject == other:
            continue
        yield Draft(
            clean=f"The {subject[number]} {link} the {other[near]}",
            corrupted=f"The {subject[1 - number]} {link} the {other[near]}",
            targets=verbs[number],
            foils=verbs[1 - number],
            tag=f"{NUMBERS[number]} subject, {NUMBERS[near]} neighbour",
            after=" here.",
            some=True,
        )
