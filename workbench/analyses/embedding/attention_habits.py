"""What the heads of a layer look at over many inputs: first, previous and own token, repeats and what followed them."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.embedding.gathered import Gathered

HABITS = ("first", "previous", "self", "distance", "entropy")
REPEATS = {"induction": functional.induction_mass, "same token": functional.same_token_mass}
MOST_CELLS = 2**23
"""Cells of patterns taken together."""
Pattern = Float[Tensor, "head _ _"]


def habits(found: Gathered, layer: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> (mean over all queries of all inputs, a head; over how many queries it was taken).

    The first query of each input does not count: it can often only see itself. Repeats are looked for in texts only.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}

    def add(name: str, means: Float[Tensor, "input head"], count: Int[Tensor, "input head"]) -> None:
        sums[name] = sums.get(name, torch.zeros(())) + (torch.where(count > 0, means, 0.0).double() * count).sum(0)
        counts[name] = counts.get(name, torch.zeros((), dtype=torch.int64)) + count.sum(0)

    readable = not found.crossed and not bool((found.rows.token < 0).any())
    tokens = dict(zip(found.chosen, _split(found.rows.token, found.rows.input), strict=True)) if readable else {}
    for numbers, patterns in _together(found.patterns(layer)):
        together, (queries, keys) = _padded(patterns)
        scores = functional.attention_scores(
            together, query_mask=queries, key_mask=keys, skip_first=True, same_sequence=not found.crossed
        )
        for i, name in enumerate(scores.names):
            add(name, scores.values[..., i], scores.counts[..., i])
        if readable:
            ids = torch.nn.utils.rnn.pad_sequence([tokens[n] for n in numbers], batch_first=True, padding_value=-1)
            for name, measure in REPEATS.items():
                mass = measure(together, ids, mask=queries)
                add(name, mass.values, mass.counts[:, None].expand(mass.values.shape))
    wanted = [name for name in (*HABITS, *REPEATS) if name in sums]
    return {name: (sums[name] / counts[name], counts[name]) for name in wanted}


def _split(values: Int[Tensor, "row"], inputs: Int[Tensor, "row"]) -> Sequence[Int[Tensor, "some"]]:
    """The rows of each input in turn."""
    return values.split(inputs.unique_consecutive(return_counts=True)[1].tolist())


def _together(patterns: Iterator[tuple[int, Pattern]]) -> Iterator[tuple[list[int], list[Pattern]]]:
    """Neighbouring inputs whose patterns are handled at once."""
    numbers: list[int] = []
    kept: list[Pattern] = []
    for number, pattern in patterns:
        if kept and (len(kept) + 1) * max(x.numel() for x in (*kept, pattern)) > MOST_CELLS:
            yield numbers, kept
            numbers, kept = [], []
        numbers.append(number)
        kept.append(pattern)
    if kept:
        yield numbers, kept


def _padded(
    patterns: Sequence[Pattern],
) -> tuple[
    Float[Tensor, "input head most most_keys"], tuple[Bool[Tensor, "input most"], Bool[Tensor, "input most_keys"]]
]:
    """Patterns of different sizes in one tensor, and which of its queries and keys are real."""
    sizes = torch.tensor([pattern.shape[1:] for pattern in patterns])
    longest = sizes.amax(0).tolist()
    together = patterns[0].new_zeros(len(patterns), len(patterns[0]), *longest)
    for row, pattern in zip(together, patterns, strict=True):
        row[:, : pattern.shape[1], : pattern.shape[2]] = pattern
    masks = [torch.arange(length) < size[:, None] for length, size in zip(longest, sizes.T, strict=True)]
    return together, (masks[0], masks[1])
