"""Occlusion: what happens to the answer when a token is not there: the causal check of all other methods."""

from typing import Annotated

import torch

from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.perturb import effects_of, fall_text, rounding_note
from workbench.analyses.attribution.removal import removed, stand_in, stand_in_text
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, analysis


def _scores(evidence: Evidence, replacement: str | None = None) -> Scores:
    each = torch.eye(len(evidence.tokens), dtype=torch.bool)
    found = removed(evidence, each, "replace", replacement=replacement)
    note = stand_in_text(evidence, stand_in(evidence.model, replacement))
    return Scores(
        values=effects_of(evidence, found)[None],
        note=f"{note} {rounding_note(evidence)}".strip(),
        explained=fall_text(evidence),
    )


METHODS = (
    Method(
        name="occlusion",
        title="Occlusion",
        function=_scores,
        needs=frozenset({"resid"}),
        signed=True,
        cost="one forward a token",
        note="A token that another one repeats seems not to count, and the replaced prompt may be like no text the"
        " model has seen.",
        analysis="occlusion",
    ),
)


@analysis("occlusion", needs={"resid"}, title="Occlusion")
@torch.no_grad()
def occlusion(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    replacement: Annotated[
        str | None, "Token put in the place of each; none: the mask token, else the unknown token, else a mean state"
    ] = None,
) -> TokenScores:
    """How far the answer falls when each token in turn is replaced; negative where it rises.

    One at a time, every token is replaced by `replacement`, else by the mask token, else by the unknown token (if it is
    spelled as one). Patches of images, frames of audio, and tokens of tokenizers that have
    neither are replaced where they enter the model as vectors, by the mean of these vectors over the prompt's
    positions. Start, class and separator tokens are replaced like all others, in encoder-decoders also those of the
    decoder; a masked position that is explained already holds the mask and so scores 0. Models without a trained head
    are asked how far the final state at the explained position turns: 1 - cosine. Falls are of the answer's
    log-probability, in nats; with a foil, of the difference of logits. One forward pass a token.
    Zeiler & Fergus (2014), "Visualizing and Understanding Convolutional Networks".
    """
    return explain(METHODS[0], model, prompt, token=token, foil=foil, position=position, replacement=replacement)
