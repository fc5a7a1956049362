"""Attention knockout: what happens to the answer when nobody can attend to a token."""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.perturb import effects_of, fall_text, outcomes, rounding_note
from workbench.analyses.attribution.removal import hiding
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.analyses.one_prompt import checked_position
from workbench.models.lens_model import LensModel
from workbench.registry import Layer, Position, Prompt, analysis


def _scores(
    evidence: Evidence, layers: Sequence[int] = (), sources: Sequence[int] = (), targets: Sequence[int] = ()
) -> Scores:
    n, group = len(evidence.tokens), _marked(evidence, sources)
    table = torch.eye(n, dtype=torch.bool, device=group.device) if not sources else group[None]
    queries = _marked(evidence, targets) if targets else None
    vary = hiding(evidence, table, queries=queries, layers=frozenset(layers))
    effect = effects_of(evidence, outcomes(evidence, len(table), vary))
    values = torch.where(group, effect, 0) if sources else effect
    return Scores(values=values[None], note=rounding_note(evidence), explained=fall_text(evidence))


def _marked(evidence: Evidence, positions: Sequence[int]) -> Bool[Tensor, "node"]:
    marks = torch.zeros(len(evidence.tokens), dtype=torch.bool, device=evidence.model.device)
    marks[[checked_position(position, evidence.tokens) for position in positions]] = True
    return marks


METHODS = (
    Method(
        name="knockout",
        title="Attention knockout",
        function=_scores,
        signed=True,
        cost="one forward a token",
        note="What a token has already passed on to others in earlier layers, or by another road, is not taken away"
        " with its column, and the rest of each row grows to fill the gap.",
        analysis="attention-knockout",
    ),
)


@analysis("attention-knockout", needs={"pattern"}, title="Attention knockout")
@torch.no_grad()
def attention_knockout(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    layers: Annotated[tuple[Layer, ...], "Layers in which attention is cut, in each stack; none: all"] = (),
    sources: Annotated[tuple[Position, ...], "Tokens cut off together, as one group; none: each token by itself"] = (),
    targets: Annotated[tuple[Position, ...], "Positions that can no longer attend to them; none: all"] = (),
) -> TokenScores:
    """How far the answer falls when nobody can attend to a token any more; negative where it rises.

    In every head of the chosen layers the token's column is taken out before the softmax, its own row included, so
    that each row shares its attention among the other tokens; a row that would be empty keeps itself, and a row of
    cross-attention that would be empty reads nothing. The token's own stream goes on. With `sources` they are cut off
    together and their common effect stands at each of them. Positions count the tokens as the result shows them:
    in encoder-decoders the encoder's first, then the decoder's. Models without a trained head are asked how far the
    final state turns: 1 - cosine. Falls are of the answer's log-probability, in nats; with a foil, of the difference
    of logits. One forward pass a token, or one for a group.
    Geva et al. (2023), "Dissecting Recall of Factual Associations in Auto-Regressive Language Models".
    """
    return explain(
        METHODS[0],
        model,
        prompt,
        token=token,
        foil=foil,
        position=position,
        layers=layers,
        sources=sources,
        targets=targets,
    )
