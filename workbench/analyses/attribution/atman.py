"""AtMan: what happens to the answer when all attention to a token is turned down."""

from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.asked import Answer, ReadAt
from workbench.analyses.attribution.evidence import Evidence, Wanted, input_sites
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.perturb import Batch, Vary, effects_of, fall_text, outcomes, rounding_note
from workbench.analyses.attribution.places import attentions, sides
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.hooks import Edit
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, Token, Within, analysis

FACTOR = 0.1
"""The published default for language models."""


def _scores(evidence: Evidence, factor: float = FACTOR, threshold: float | None = None) -> Scores:
    factors = _factors(evidence, factor, threshold)
    found = outcomes(evidence, len(factors), _suppressing(evidence, factors))
    if found.log_probability is None or evidence.logits is None or evidence.target.alone:
        values, explained = effects_of(evidence, found), fall_text(evidence)
    else:
        values = evidence.target.log_probability(evidence.logits[None]) - found.log_probability
        explained = f"rise of the loss in place of the {evidence.target.text}"
    return Scores(values=values[None], note=rounding_note(evidence), explained=explained)


def _factors(evidence: Evidence, factor: float, threshold: float | None) -> Float[Tensor, "node node"]:
    """(token that is suppressed, key): by how much each key is turned down; neighbours are sought on the same side."""
    n, model = len(evidence.tokens), evidence.model
    every = torch.ones(n, n, dtype=torch.promote_types(model.dtype, torch.float32), device=model.device)
    for side in sides(evidence):
        if threshold is None:
            block = every[side.nodes, side.nodes].fill_diagonal_(factor)
        else:
            block = functional.neighbour_factors(evidence.values[side.entry], factor, threshold)
        every[side.nodes, side.nodes] = block.to(every)
    return every


def _suppressing(evidence: Evidence, factors: Float[Tensor, "variant node"]) -> Vary:
    def vary(rows: Tensor, batch: Batch) -> tuple[Batch, Mapping[str, Edit]]:
        edits: dict[str, Edit] = {}
        for one in attentions(evidence):
            wide = 1 + one.keys.spread(factors[rows] - 1)[:, None, None]  # (batch, head, query, key); padding gets 1
            edits[f"{one.path}.attn_scores"] = lambda value, wide=wide: functional.suppressed_scores(value, wide)
        return batch, edits

    return vary


METHODS = (
    Method(
        name="atman",
        title="AtMan",
        function=_scores,
        wants=lambda model: Wanted(sites=input_sites(model)),
        signed=True,
        cost="one forward a token",
        note="Attention is turned down towards the lowest score that the row can see, never to nothing, so a token"
        " nobody attends to, or all attend to alike, scores 0 whatever it means.",
        analysis="atman",
    ),
)


@analysis("atman", needs={"pattern"}, title="AtMan")
@torch.no_grad()
def atman(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Annotated[Token, "Answer against which it is explained; none: all others"] = None,
    position: ReadAt = None,
    factor: Annotated[float, Within(0, 10), "What is left of a token's score above the row's lowest"] = FACTOR,
    threshold: Annotated[
        float | None, Within(0, 1), "Cosine of embeddings from which on tokens are suppressed together; none: alone"
    ] = None,
) -> TokenScores:
    """How much less likely the answer gets when all attention to a token is turned down, in nats; negative where more.

    In every head and layer the token's scores before the softmax shrink to `factor` of their height above the lowest
    score of the row; the attribution is the rise of the cross entropy of the answer (with a foil: of the answer
    between the two). The lowest score is that of the keys a row can see; the published code also counts keys that the
    mask hides. With a threshold, tokens with similar embeddings are suppressed along (the paper's conceptual
    neighbours, on the same side of an encoder-decoder). Models without a trained head are asked how far the final
    state turns: 1 - cosine. One forward pass a token.
    Deiseroth et al. (2023), "AtMan: Understanding Transformer Predictions Through Memory Efficient Attention
    Manipulation".
    """
    return explain(
        METHODS[0], model, prompt, token=token, foil=foil, position=position, factor=factor, threshold=threshold
    )
