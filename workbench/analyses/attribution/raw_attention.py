"""Raw attention: what the explained position looks at in each layer, the baseline of all other methods."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence, Wanted
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.models.lens_model import LensModel
from workbench.registry import Position, Prompt, analysis


def looked_at(evidence: Evidence, normalize: bool = False) -> Float[Tensor, "step node node"]:
    """Attention of each step, mean over heads, refused where rows do not sum to one or, on request, made to.

    In encoder-decoders, tokens that a step does not concern look at themselves.
    """
    maps = evidence.mixed(0.0)
    if normalize:
        return functional.with_residual(maps, 0.0, normalize=True)
    functional.check_rows(maps, precision=evidence.model.dtype)
    return maps


def _scores(evidence: Evidence, normalize: bool = False) -> Scores:
    maps = looked_at(evidence, normalize)
    return Scores(values=maps[:, evidence.row], steps=evidence.steps, maps=maps)


METHODS = (
    Method(
        name="raw",
        title="Raw attention",
        function=_scores,
        wants=lambda _: Wanted(patterns=True),
        note="Above the first layer a position is no longer its token: what is looked at there has been mixed before. "
        "Neither values nor the answer are taken into account.",
        analysis="raw-attention",
    ),
)


@analysis("raw-attention", needs={"pattern"}, title="Raw attention")
@torch.no_grad()
def raw_attention(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    position: Annotated[
        Position | None, "Which position is explained; none: where the model answers (last, or masked)"
    ] = None,
    normalize: Annotated[bool, "Divide rows of attention that do not sum to one by their sum"] = False,
) -> TokenScores:
    """What the position that answers looks at in each layer, mean over heads; the last layer is the usual baseline.

    Encoder-decoders have a row for each layer of the encoder, and two for each of the decoder: its self-attention, and
    its cross-attention. In a step that does not concern a token, it looks at itself. One forward pass.
    """
    return explain(METHODS[0], model, prompt, position=position, normalize=normalize)
