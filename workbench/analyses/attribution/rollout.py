"""Attention rollout: how much of each token has come to a position along all paths of attention below it."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence, Wanted
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.raw_attention import looked_at
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.registry import Layer, Position, Prompt, Within, analysis


def _scores(
    evidence: Evidence,
    residual: float = 0.5,
    start_layer: int = 0,
    heads_of: int | None = None,
    drop_first: bool = False,
    normalize: bool = False,
) -> Scores:
    attended = looked_at(evidence, normalize)
    if heads_of is None:
        maps = functional.cumulative_product(functional.with_residual(attended, residual), start_layer)
        steps = evidence.steps[start_layer:]
    else:
        patterns = _one_stack(evidence, start_layer, heads_of)
        maps = functional.head_rollout(patterns, heads_of - start_layer, residual, normalize=normalize)
        steps = tuple(f"{heads_of}.{head}" for head in range(len(maps)))
    if drop_first:
        maps = torch.nn.functional.pad(functional.drop_first(maps), (1, 0))
    return Scores(values=maps[:, evidence.row], steps=steps, maps=maps)


def _one_stack(evidence: Evidence, start_layer: int, heads_of: int) -> Float[Tensor, "layer head query key"]:
    """Patterns from `start_layer` on, where single heads have a rollout of their own."""
    if len(evidence.patterns) > 1:
        raise BadInput(
            f"{evidence.model.name} has an encoder and a decoder; single heads are of models with one stack."
        )
    if heads_of < start_layer:
        raise BadInput(f"Layer {heads_of} is left out: the rollout starts at layer {start_layer}.")
    (patterns,) = evidence.patterns.values()
    return patterns[start_layer:]


METHODS = (
    Method(
        name="rollout",
        title="Attention rollout",
        function=_scores,
        wants=lambda _: Wanted(patterns=True),
        note="It ignores values and signs: what is looked at counts, whatever is read there. In causal models the "
        "first token gathers more with every layer.",
        analysis="attention-rollout",
    ),
)


@analysis("attention-rollout", needs={"pattern"}, title="Attention rollout")
@torch.no_grad()
def attention_rollout(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    position: Annotated[
        Position | None, "Which position is explained; none: where the model answers (last, or masked)"
    ] = None,
    residual: Annotated[float, Within(0, 1), "Share of itself that each position keeps in every layer"] = 0.5,
    start_layer: Annotated[int, Within(0, 10_000), "Leave out the layers (or steps) below this one"] = 0,
    heads_of: Annotated[Layer | None, "Each head of this layer by itself, over all heads of those below"] = None,
    drop_first: Annotated[bool, "Leave the first token out and share its part among the others"] = False,
    normalize: Annotated[bool, "Divide rows of attention that do not sum to one by their sum"] = False,
) -> TokenScores:
    """How much of each token has come to the position that answers, after each layer, by attention alone.

    Each layer's attention, mean over heads, is mixed with what positions keep of themselves, and the layers are
    multiplied: the share of a token is the sum over all paths to it of the product of their weights. Shares sum to
    one. An encoder-decoder is one graph of both sides' tokens. One forward pass, one matrix product a layer.
    Abnar & Zuidema (2020), "Quantifying Attention Flow in Transformers".
    """
    return explain(
        METHODS[0],
        model,
        prompt,
        position=position,
        residual=residual,
        start_layer=start_layer,
        heads_of=heads_of,
        drop_first=drop_first,
        normalize=normalize,
    )
