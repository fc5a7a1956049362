"""Greater than: what ends, ends after it began."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.tasks.draft import Draft
from workbench.tasks.word_lists import words

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader

CENTURIES = range(11, 18)
PAIRS = tuple(f"{number:02}" for number in range(100))
DIGITS = tuple("0123456789")


def year_spans(reader: "Reader", random: Random) -> Iterator[Draft]:
    """The war lasted from the year 1732 to the year 17: 33 to 99, not 00 to 32. Corrupted, it began in 1701.

    Where years are split into single digits the answer is the tens digit: larger ones are right, smaller ones wrong,
    and the same one is neither, as what comes after it decides. Hanna et al. (2023), How does GPT-2 compute
    greater-than?
    """
    found, whole = words("lasting"), _two_digits(reader)
    while True:
        century, text = random.choice(CENTURIES), random.choice(found["templates"])
        start = random.randrange(2, 99) if whole else 10 * random.randrange(1, 9) + random.randrange(9)
        noun = random.choice(found["nouns"])
        numbers, at = (PAIRS, start) if whole else (DIGITS, start // 10)
        yield Draft(
            clean=text.format(noun=noun, century=century, start=f"{century}{start:02}"),
            corrupted=text.format(noun=noun, century=century, start=f"{century}01"),
            targets=numbers[at + 1 :],
            foils=numbers[: at + 1] if whole else numbers[:at],
            some=True,
        )


def digits(reader: "Reader") -> str:
    """What was adapted where years are split into digits."""
    if _two_digits(reader):
        return ""
    return "Years are split into single digits here: the answer is the tens digit, above that of the start or below."


def _two_digits(reader: "Reader") -> bool:
    """Whether the end of a year is one token; also true where digits are not either, so that this is said."""
    text = "It lasted from the year 1732 to the year 17"
    return reader.is_one_token(text, "45") or not reader.is_one_token(text, "4")
