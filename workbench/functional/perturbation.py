"""Whether the tokens a score ranks first matter most: what the model answers when they are removed, or alone kept.

The functions here choose which tokens go and sum up what came out; running the model is up to the caller:
`removal_masks` -> outputs, one for each mask -> `aopc` or `perturbation_auc`.

References: DeYoung et al. (2020), "ERASER: A Benchmark to Evaluate Rationalized NLP Models" (comprehensiveness and
sufficiency); Samek et al. (2017), "Evaluating the Visualization of What a Deep Neural Network Has Learned" (area over
the perturbation curve); Chefer, Gur & Wolf (2021), "Generic Attention-model Explainability" (positive and negative).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput, UnknownName

FRACTIONS = tuple(step / 10 for step in range(11))
"""None to all of the tokens in steps of a tenth: the usual grid, of which AOPC takes those above 0."""


def removal_order(
    scores: Real[Tensor, "*batch token"], candidates: Bool[Tensor, "*batch token"] | None = None
) -> Int[Tensor, "*batch token"]:
    """Positions from the highest score to the lowest; equal scores in the order of the text.

    Tokens without a score (NaN) come after all others, and those that are no candidates last of all.
    """
    filled = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    order = filled.argsort(dim=-1, descending=True, stable=True)
    # A NaN and a score of -inf are equal now: put the tokens without a score behind, then those that may not go.
    for last in (scores.isnan(), None if candidates is None else ~candidates):
        if last is not None:
            behind = last.gather(-1, order).to(torch.uint8)
            order = order.gather(-1, behind.argsort(dim=-1, stable=True))
    return order


def removal_masks(
    scores: Real[Tensor, "*batch token"],
    fractions: Sequence[float] = FRACTIONS,
    *,
    remove: Literal["first", "last", "rest"] = "first",
    candidates: Bool[Tensor, "*batch token"] | None = None,
) -> Bool[Tensor, "*batch fraction token"]:
    """True where a token is removed, for each fraction of the candidates.

    `first`: the highest scores go (comprehensiveness; the positive curve). `last`: the lowest go, the same order from
    its end (the negative curve). `rest`: the highest scores are kept and all other candidates go (sufficiency).
    A fraction of n tokens is fraction * n of them, rounded, halves upwards.
    """
    if remove not in ("first", "last", "rest"):
        raise UnknownName("way to remove tokens", remove, ("first", "last", "rest"))
    if not all(0 <= fraction <= 1 for fraction in fractions):
        raise BadInput(f"Fractions of the tokens are from 0 to 1, not {tuple(fractions)}.")
    may_go = torch.ones_like(scores, dtype=torch.bool) if candidates is None else candidates
    order = removal_order(scores, candidates)
    place = order.argsort(dim=-1)[..., None, :]  # (*batch, 1, token): 0 for the first to go
    n = may_go.sum(-1)[..., None]  # (*batch, 1)
    shares = torch.tensor(list(fractions), dtype=torch.float32, device=scores.device)
    chosen = (shares * n + 0.5).floor().long()[..., None]  # (*batch, fraction, 1)
    gone = {"first": place < chosen, "last": place >= n[..., None] - chosen, "rest": place >= chosen}[remove]
    return gone & may_go[..., None, :]


def random_scores(like: Float[Tensor, "*batch token"], seed: int = 0) -> Float[Tensor, "*batch token"]:
    """Scores that know nothing: the control that every method has to beat. Uniform in [0, 1), from the seed alone."""
    drawn = torch.rand(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(like)


def aopc(full: Float[Tensor, "*batch"], perturbed: Float[Tensor, "*batch fraction"]) -> Float[Tensor, "*batch"]:
    """How much the answer loses on average over the fractions: the mean of p(whole input) - p(perturbed input).

    With the highest scores removed it is comprehensiveness (higher is better), with only the highest kept it is
    sufficiency (lower is better). In the units of the answer: for probabilities, from -1 to 1.
    """
    return (full[..., None] - perturbed).mean(-1)


def perturbation_auc(
    outputs: Float[Tensor, "*batch fraction"], fractions: Sequence[float] = FRACTIONS
) -> Float[Tensor, "*batch"]:
    """The mean height of the curve of outputs against the fraction removed: its area (trapezoid) over its range.

    Positive curve, the highest scores first: lower is better. Negative curve, the lowest first: higher is better.
    """
    at = torch.tensor(list(fractions), dtype=outputs.dtype, device=outputs.device)
    if len(at) != outputs.shape[-1] or len(at) < 2 or not bool((at.diff() > 0).all()):
        raise BadInput(
            f"An area needs two or more growing fractions, one for each of {outputs.shape[-1]} outputs: got"
            f" {tuple(fractions)}."
        )
    return torch.trapezoid(outputs, at) / (at[-1] - at[0])
