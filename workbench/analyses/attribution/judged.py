"""Judged: how well each method agrees with the causal check, beside orders that know nothing, and what curves say."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.removal import Way, removed
from workbench.analyses.attribution.together import Together, spread, step_of
from workbench.functional.perturbation import FRACTIONS

MEASURES = ("spearman", "kendall", "signed spearman", "signed kendall")
"""Rank correlations with the effects: of sizes, |score| with |effect|; and, for signed methods, of the numbers."""
RANDOM_ORDERS = 500
"""Orders drawn for the control: enough to place one in forty within a tenth of their spread."""
CURVES = ("comprehensiveness", "sufficiency", "positive AUC", "negative AUC")
"""Higher is better for the first and the last, lower for the two between."""
CURVE_ORDERS = 3
"""Random orders whose curves are averaged: each costs as many passes as a method."""


def correlations(
    values: Float[Tensor, "line word"],
    effects: Float[Tensor, "word"],
    counted: Bool[Tensor, "word"],
    signed: Sequence[bool],
) -> Float[Tensor, "line measure"]:
    """`MEASURES` of each line of scores; NaN where a correlation is undefined, or the method has no sign."""
    mask = counted.expand(values.shape)
    effects = effects.expand(values.shape)
    columns = [of(values.abs(), effects.abs(), mask) for of in (functional.spearman, functional.kendall)]
    without = ~torch.tensor(list(signed), dtype=torch.bool)
    for of in (functional.spearman, functional.kendall):
        columns.append(of(values, effects, mask).masked_fill(without, torch.nan))
    return torch.stack(columns, dim=-1)


def chance(effects: Float[Tensor, "word"], counted: Bool[Tensor, "word"], seed: int) -> Float[Tensor, "measure bound"]:
    """(mean, lower, upper) of what random orders reach in each measure: 95 in 100 lie between the last two."""
    kept = effects[counted]
    drawn = functional.random_scores(kept.new_empty(RANDOM_ORDERS, len(kept)), seed)
    everything = torch.ones(len(kept), dtype=torch.bool)
    found = correlations(drawn, kept, everything, [True] * RANDOM_ORDERS)
    ends = found.new_tensor([0.025, 0.975])
    return torch.cat([found.mean(0)[:, None], found.quantile(ends, dim=0).T], dim=1)


def curves(
    found: Together, how: Way, *, counted: Bool[Tensor, "word"], layer: int | None, seed: int, replacement: str | None
) -> tuple[Float[Tensor, "method_and_random curve"], int]:
    """(`CURVES` of each method and last of random orders, how many forward passes they took).

    Words go, or stay, in tenths of those that are counted, from the highest score down; signed methods by their
    signed scores. What is followed is the probability of the answer (with a foil: between the two; without a trained
    head: the cosine of the explained state with the original). Each set of words is run once, whoever asked for it.
    """
    lines = torch.stack([one.values[step_of(found, m, layer)].double() for m, one in enumerate(found.scores)])
    random = functional.random_scores(lines.new_empty(CURVE_ORDERS, lines.shape[-1]), seed)
    scores = torch.cat([lines, random])  # (order, word)
    shares = FRACTIONS
    asked = torch.stack(
        [
            functional.removal_masks(scores, shares, remove=way, candidates=counted.expand(scores.shape))
            for way in ("first", "rest", "last")
        ]
    )  # (way, order, share, word)
    table, place = asked.flatten(0, -2).unique(dim=0, return_inverse=True)
    outcome = removed(found.evidence, spread(found, table), how, replacement=replacement)
    answers = outcome.score if outcome.probability is None else outcome.probability
    first, rest, last = answers.double().cpu()[place].reshape(asked.shape[:-1])  # (order, share) each
    full = first[:, 0]
    numbers = torch.stack(
        [
            functional.aopc(full, first[:, 1:]),
            functional.aopc(full, rest[:, 1:]),
            functional.perturbation_auc(first, shares),
            functional.perturbation_auc(last, shares),
        ],
        dim=-1,
    )
    return torch.cat([numbers[: len(lines)], numbers[len(lines) :].mean(0, keepdim=True)]), len(table)
