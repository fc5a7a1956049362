"""Gendered pronoun: which pronoun a name is taken up with."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.tasks.draft import Draft
from workbench.tasks.word_lists import words

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader

PRONOUNS = {"female": " she", "male": " he"}


def he_or_she(_: "Reader", random: Random) -> Iterator[Draft]:
    """So Peter is a really great friend, isn't: he, not she. Corrupted is a name that is usually of the other gender.

    What a model has learnt of names is measured here, not what is true of people. Mathwin et al. (2023),
    Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2 Small.
    """
    names, found = words("names"), words("roles")
    while True:
        gender = random.choice(tuple(PRONOUNS))
        other = next(one for one in PRONOUNS if one != gender)
        (text, after), role = random.choice(found["templates"]), random.choice(found["roles"])
        yield Draft(
            clean=text.format(name=random.choice(names[gender]), role=role),
            corrupted=text.format(name=random.choice(names[other]), role=role),
            targets=(PRONOUNS[gender],),
            foils=(PRONOUNS[other],),
            tag=gender,
            after=after,
        )
