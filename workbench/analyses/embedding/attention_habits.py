"""What the heads of a layer look at over many inputs: first, previous and own token, repeats and what followed them."""

import torch
from torch import Tensor

from workbench import functional
from workbench.analyses.embedding.gathered import Gathered

HABITS = ("first", "previous", "self", "distance", "entropy")
REPEATS = {"induction": functional.induction_mass, "same token": functional.same_token_mass}


def habits(found: Gathered, layer: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> (mean over all queries of all inputs, a head; over how many queries it was taken).

    The first query of each input does not count: it can often only see itself. Repeats are looked for in texts only.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}

    def add(name: str, mean: Tensor, count: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros(())) + torch.where(count > 0, mean, 0.0).double() * count
        counts[name] = counts.get(name, torch.zeros((), dtype=torch.int64)) + count

    tokens = {} if found.crossed or bool((found.rows.token < 0).any()) else _tokens(found)
    for number, pattern in found.patterns(layer):
        scores = functional.attention_scores(pattern, skip_first=True, same_sequence=not found.crossed)
        for i, name in enumerate(scores.names):
            add(name, scores.values[..., i], scores.counts[..., i])
        if number in tokens:
            for name, measure in REPEATS.items():
                mass = measure(pattern, tokens[number])
                add(name, mass.values, mass.counts.expand(mass.values.shape))
    wanted = [name for name in (*HABITS, *REPEATS) if name in sums]
    return {name: (sums[name] / counts[name], counts[name]) for name in wanted}


def _tokens(found: Gathered) -> dict[int, Tensor]:
    return {number: found.rows.token[found.rows.input == number] for number in found.chosen}
