"""Addition of two numbers whose sum is one token."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.tasks.draft import Draft

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader

FORMS = (("{a} + {b} =", " {c}"), ("{a} + {b} = ", "{c}"), ("{a}+{b}=", "{c}"))
"""(question, answer), of which the first whose answers are single tokens is used."""
SHOWN = 3
"""Sums that are worked before the one that is asked for."""


def additions(reader: "Reader", random: Random) -> Iterator[Draft]:
    """2 + 6 = 8, 4 + 1 = 5, 3 + 4 =: 7. Corrupted, one operand is another, which the tag names.

    Neither answer stands among the worked sums, and none of these is the question. Sums have two digits where those
    are one token, else one.
    """
    (question, answer), largest = _form(reader)
    while True:
        a, b = _operands(random, largest)
        tag = random.choice(("first", "second"))
        x, y = (_other(random, b, largest), b) if tag == "first" else (a, _other(random, a, largest))
        if x + y == a + b:
            continue
        shown = []
        while len(shown) < SHOWN:
            u, v = _operands(random, largest)
            if u + v not in (a + b, x + y):
                shown.append(question.format(a=u, b=v) + answer.format(c=u + v) + "\n")
        yield Draft(
            clean="".join(shown) + question.format(a=a, b=b),
            corrupted="".join(shown) + question.format(a=x, b=y),
            targets=(answer.format(c=a + b),),
            foils=(answer.format(c=x + y),),
            tag=f"{tag} operand",
        )


def sizes(reader: "Reader") -> str:
    """What was adapted where numbers are split into digits."""
    return "" if _form(reader)[1] > 9 else "Numbers are split into single digits here: sums are at most 9."


def _form(reader: "Reader") -> tuple[tuple[str, str], int]:
    """(form, largest sum)."""
    for largest in (99, 9):
        for question, answer in FORMS:
            if reader.is_one_token(question.format(a=4, b=5), answer.format(c=largest)):
                return (question, answer), largest
    return FORMS[0], 9


def _operands(random: Random, largest: int) -> tuple[int, int]:
    a = random.randrange(1, largest)
    return a, _other(random, a, largest)


def _other(random: Random, one: int, largest: int) -> int:
    """A number that adds up with `one` to no more than the largest sum."""
    return random.randrange(1, largest - one + 1)
