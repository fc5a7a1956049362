"""ALTI: how near what each position passes on comes to what the other becomes, chained over the layers."""

from typing import Annotated

import torch

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.mixing_steps import joined_maps, wanted_sums
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.models.lens_model import LensModel
from workbench.registry import Position, Prompt, Token, analysis


def _scores(evidence: Evidence, cumulative: bool = True) -> Scores:
    joined = joined_maps(
        evidence,
        lambda step: functional.alti_map(*step.mixed, step.of_the_sum),
        lambda step: functional.cross_alti_map(*step.mixed, step.of_the_sum),
        normalize=False,
    )
    chained = functional.cumulative_product(joined) if cumulative else joined
    return Scores(values=chained[:, evidence.row], steps=evidence.steps, maps=chained)


METHODS = (
    Method(
        name="alti",
        title="ALTI",
        function=_scores,
        wants=wanted_sums,
        needs=frozenset({"pattern", "resid", "norms"}),
        note="What points away from the sum counts as nothing, so that suppression is not seen; the MLPs are left out.",
        analysis="alti",
    ),
)


@analysis("alti", needs=set(METHODS[0].needs), title="ALTI")
@torch.no_grad()
def alti(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Annotated[Token, "Answer at the explained position, for the title; the shares do not depend on it"] = None,
    position: Annotated[
        Position | None, "Position that is explained; none: where the model answers (last, or masked)"
    ] = None,
    cumulative: Annotated[bool, "Multiply the maps from the first layer up; else each layer by itself"] = True,
) -> TokenScores:
    """How much of each position is made of each token, by how much of it is lost without the token's contribution.

    A layer's state is a sum of vectors, one a source; a source counts max(0, |y| - |y - T|) in the L1 norm, and rows
    are divided by their sums. In post-norm blocks the vectors go through the norm of the sum; in pre-norm blocks they
    are taken as they are added. Ferrando et al. (2022), "Measuring the Mixing of Contextual Information in the
    Transformer". About half a forward pass; one (query, key, d_model) tensor, a few keys at a time.
    """
    return explain(METHODS[0], model, prompt, token=token, position=position, cumulative=cumulative)
