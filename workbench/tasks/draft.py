"""An example before any tokenizer has seen it, and why one may not be usable."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A pair of prompts with their answers, as text or, where words do not matter, as token ids."""

    clean: str | tuple[int, ...]
    """A text that the answer goes on with; or ids, to which the answer's place and special tokens are added."""
    corrupted: str | tuple[int, ...]
    targets: tuple[str | int, ...]
    """Right answers, exactly as they stand after the text: with a space before them where one belongs there."""
    foils: tuple[str | int, ...]
    tag: str = ""
    after: str = "."
    """What follows the answer, for models that fill a mask."""
    some: bool = False
    """Whether answers that are not one token are left out alone; otherwise the whole example is."""


class Unusable(Exception):
    """Why one example cannot be used; the text goes on from "left out because"."""


MANY_TOKENS = "an answer is not one token where it stands"
LENGTHS = "clean and corrupted differ in length"
SAME_ANSWER = "a target is also a foil"
SAME_PROMPT = "clean and corrupted are the same"
UNKNOWN = "the tokenizer does not know a character of it"
TOO_LONG = "it is longer than the model reads"
MASKS = "its prompts do not have one mask each, at the same place"
