"""Two made-up languages: sentences whose subject has a number among attractors, and texts with planted evidence.

Every text is a list of words between [CLS] and [SEP]; texts of one call have one length, so nothing is padded.
"""

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNK = SPECIAL.index("[UNK]")
NOUNS = ("key", "cat", "boy", "car", "king", "dog", "book", "girl", "tree", "ship", "bird", "farmer")
DETERMINERS = ("the", "my", "some", "any")
ADJECTIVES = ("old", "red", "small", "big", "tall", "young")
PREPOSITIONS = ("near", "behind", "with", "under", "above", "beside")
ADVERBS = ("often", "here", "now", "again", "maybe", "once", "today", "indeed")
AGREEMENT = (*SPECIAL, *NOUNS, *(f"{noun}s" for noun in NOUNS), *DETERMINERS, *ADJECTIVES, *PREPOSITIONS, *ADVERBS)

GOOD, BAD = ("good", "kind", "bright", "calm"), ("bad", "cruel", "dull", "harsh")
VERY_GOOD, VERY_BAD = ("superb", "perfect"), ("awful", "vile")
FILLERS = tuple(f"w{number:02}" for number in range(40))
EVIDENCE = (*SPECIAL, "not", *GOOD, *BAD, *VERY_GOOD, *VERY_BAD, *FILLERS)
WEIGHTS = {word: 1 for word in GOOD} | {word: 2 for word in VERY_GOOD}
WEIGHTS |= {word: -1 for word in BAD} | {word: -2 for word in VERY_BAD}


@dataclass(frozen=True, eq=False, kw_only=True)
class Texts:
    """Texts of one length with their labels."""

    words: tuple[tuple[str, ...], ...]
    """Without the special tokens."""
    labels: Tensor
    """(text,)"""
    planted: Tensor
    """(text, word), bool: the words that decide the label."""


def agreement(count: int, length: int, seed: int) -> Texts:
    """Sentences up to their verb; the label is 1 when the subject is plural.

    The subject is the one noun outside phrases that a preposition opens; one such phrase may stand before it and up to
    three after it, and the numbers of all nouns are independent. Adverbs between the phrases fill up to the length.
    """
    random = Random(f"agreement {seed}")
    made = [_sentence(random, length) for _ in range(count)]
    return _texts(made)


def evidence(count: int, length: int, seed: int) -> Texts:
    """Fillers with two to five words of praise or blame; the label is 1 when praise outweighs blame.

    Strong words count twice, `not` just before one turns its sign; sums of zero are drawn again.
    """
    random = Random(f"evidence {seed}")
    made = [_review(random, length) for _ in range(count)]
    return _texts(made)


def _texts(made: list[tuple[list[str], int, set[int]]]) -> Texts:
    planted = [[place in places for place in range(len(words))] for words, _, places in made]
    return Texts(
        words=tuple(tuple(words) for words, _, _ in made),
        labels=torch.tensor([label for _, label, _ in made]),
        planted=torch.tensor(planted),
    )


def _sentence(random: Random, length: int) -> tuple[list[str], int, set[int]]:
    while True:
        plural = random.random() < 0.5
        before = [_prepositional(random) for _ in range(random.choice((0, 0, 1)))]
        after = [_prepositional(random) for _ in range(random.choice((0, 1, 1, 2, 3)))]
        phrases = [*before, _noun_phrase(random, plural), *after]
        subject = len(before)
        spare = length - sum(map(len, phrases))
        if 0 <= spare <= 5:
            break
    for _ in range(spare):
        place = random.randint(0, len(phrases))
        phrases.insert(place, [random.choice(ADVERBS)])
        subject += place <= subject
    end = sum(map(len, phrases[: subject + 1])) - 1
    return [word for phrase in phrases for word in phrase], int(plural), {end}


def _noun_phrase(random: Random, plural: bool) -> list[str]:
    adjectives = [random.choice(ADJECTIVES) for _ in range(random.choice((0, 0, 1, 2)))]
    return [random.choice(DETERMINERS), *adjectives, random.choice(NOUNS) + "s" * plural]


def _prepositional(random: Random) -> list[str]:
    return [random.choice(PREPOSITIONS), *_noun_phrase(random, random.random() < 0.5)]


def _review(random: Random, length: int) -> tuple[list[str], int, set[int]]:
    while True:
        told = [random.choice(tuple(WEIGHTS)) for _ in range(random.randint(2, 5))]
        turned = [random.random() < 0.25 for _ in told]
        total = sum(-WEIGHTS[word] if turn else WEIGHTS[word] for word, turn in zip(told, turned, strict=True))
        if total:
            break
    phrases = [["not", word] if turn else [word] for word, turn in zip(told, turned, strict=True)]
    phrases += [[random.choice(FILLERS)] for _ in range(length - sum(map(len, phrases)))]
    random.shuffle(phrases)
    words = [word for phrase in phrases for word in phrase]
    return words, int(total > 0), {place for place, word in enumerate(words) if word not in FILLERS}


MAKERS = {"agreement": (agreement, AGREEMENT), "evidence": (evidence, EVIDENCE)}
"""Task -> what makes its texts, and its vocabulary."""


def ids_of(texts: Texts, vocabulary: tuple[str, ...]) -> Tensor:
    """Token ids (text, pos), with [CLS] first and [SEP] last."""
    number = {word: place for place, word in enumerate(vocabulary)}
    return torch.tensor([[number[word] for word in ("[CLS]", *words, "[SEP]")] for words in texts.words])
