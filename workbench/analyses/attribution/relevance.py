"""Relevance: attention that raises the answer, added up over layers by the rules of Chefer, Gur and Wolf."""

from typing import Annotated

import torch

from workbench import functional
from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.evidence import Evidence, Wanted, two_sided
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, analysis


def _scores(evidence: Evidence) -> Scores:
    if len(evidence.patterns) == 1:
        (name,) = evidence.patterns
        maps = functional.relevance(evidence.patterns[name], evidence.pattern_gradients[name], identity=False)
    else:
        weighted = (
            functional.gradient_weighted(evidence.patterns[name], evidence.pattern_gradients[name])
            for name in two_sided(evidence.model)
        )
        maps = functional.encoder_decoder_relevance(*weighted, identity=False)
    return Scores(values=maps[:, evidence.row], steps=evidence.steps, maps=maps)


METHODS = (
    Method(
        name="relevance",
        title="Relevance",
        function=_scores,
        wants=lambda _: Wanted(patterns=True, pattern_gradients=True),
        needs=frozenset({"pattern", "gradients", "logits"}),
        cost="one forward and one backward",
        note="What speaks against the answer is dropped, not counted. Gradients vanish where attention is saturated, "
        "and they know nothing of the MLPs' part in what a position holds.",
        analysis="relevance",
    ),
)


@analysis("relevance", needs={"pattern", "gradients", "logits"}, title="Relevance")
@torch.no_grad()
def relevance(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
) -> TokenScores:
    """How much each token counts for one answer: attention where it raises the answer, added up over the layers.

    Of attention times the gradient of the answer's logit the positive part is kept, heads are averaged, and each layer
    adds its map times what was there before. The identity that this starts with is left out: a token's own score is
    what attention gave it. In encoder-decoders the scores of the encoder's tokens pass through cross-attention with
    both sides normalised, and are on a scale of their own, not that of the decoder's tokens. One forward and one
    backward pass. Chefer, Gur & Wolf (2021), "Generic Attention-model Explainability".
    """
    return explain(METHODS[0], model, prompt, token=token, foil=foil, position=position)
