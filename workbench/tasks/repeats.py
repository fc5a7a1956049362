"""Induction: what came after a token once comes after it again, in random tokens that mean nothing."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.errors import BadInput
from workbench.tasks.draft import Draft

if TYPE_CHECKING:
    from workbench.tasks.reader import Reader

BLOCKS = range(9, 14)
"""Tokens of a block; they differ, so that no one distance back leads to the answer."""
LENGTH = 15
"""Tokens of a prompt: the block and as many of its first tokens again as fit."""


def successors(reader: "Reader", random: Random) -> Iterator[Draft]:
    """A block of different random tokens and its first ones again: the next one, as in the block.

    Corrupted, that token is another in the block, which is then the answer. This asks what is copied and not how its
    place is found. Olsson et al. (2022), In-context Learning and Induction Heads.
    """
    for block, new, again in _blocks(reader, random):
        changed = (*block[:again], new, *block[again + 1 :])
        yield Draft(
            clean=block + block[:again],
            corrupted=changed + block[:again],
            targets=(block[again],),
            foils=(new,),
        )


def matches(reader: "Reader", random: Random) -> Iterator[Draft]:
    """As induction, but corrupted changes where the last token is found in the block, and not what comes after.

    The block's copy of the last token changes places with a later token of the block, whose own successor is then the
    answer. This asks how the place is found: the queries and keys, and the previous-token head before them.
    """
    for block, _, again in _blocks(reader, random):
        here, there = again - 1, random.randrange(again + 1, len(block) - 1)
        changed = list(block)
        changed[here], changed[there] = changed[there], changed[here]
        yield Draft(
            clean=block + block[:again],
            corrupted=tuple(changed) + block[:again],
            targets=(block[again],),
            foils=(block[there + 1],),
        )


def _blocks(reader: "Reader", random: Random) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """(block, a token that is not in it, how many of its tokens come again)."""
    vocabulary = reader.vocabulary
    if len(vocabulary) <= BLOCKS[-1]:
        raise BadInput(
            f"Induction needs {BLOCKS[-1] + 1} different tokens, and {reader.model.name} has {len(vocabulary)} that are"
            " not special. Choose another model, or a file of your own prompts."
        )
    while True:
        size = random.choice(BLOCKS)
        *block, new = random.sample(vocabulary, size + 1)
        yield tuple(block), new, LENGTH - size
