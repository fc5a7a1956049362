"""Attention flow: how much of each token can come to a position at most, along all paths of attention below it."""

from collections.abc import Sequence
from typing import Annotated

import torch

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence, Wanted
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.raw_attention import looked_at
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.models.lens_model import LensModel
from workbench.registry import Layer, Position, Prompt, Within, analysis

FULL = 1 - 1e-4
"""A flow of this size and more is said to be saturated."""


def _scores(
    evidence: Evidence,
    residual: float = 0.5,
    layers: Sequence[int] = (),
    shares: bool = False,
    everywhere: bool = False,
    normalize: bool = False,
) -> Scores:
    graph = functional.with_residual(looked_at(evidence, normalize), residual)
    steps = [_last_step(evidence, layer) for layer in layers] or list(range(len(graph)))
    flows = functional.cumulative_flow(graph, steps, None if everywhere else [evidence.row])
    full = int((flows[-1, evidence.row if everywhere else 0] >= FULL).sum())
    if shares:
        flows = flows / flows.sum(-1, keepdim=True)
    return Scores(
        values=flows[:, evidence.row if everywhere else 0],
        steps=tuple(evidence.steps[step] for step in steps),
        maps=flows if everywhere else None,
        note=f"Here {full} of {len(evidence.tokens)} tokens are at 1 at the end: flow cannot tell them apart."
        if full > 1
        else "",
    )


def _last_step(evidence: Evidence, layer: int) -> int:
    """The step that ends a layer; of a decoder's in encoder-decoders, which comes after the whole encoder."""
    if len(evidence.patterns) == 1:
        return layer
    return len(evidence.steps) - 2 * evidence.model.main.n_blocks + 2 * layer + 1


METHODS = (
    Method(
        name="flow",
        title="Attention flow",
        function=_scores,
        wants=lambda _: Wanted(patterns=True),
        note="It saturates: a flow is never above 1, what the explained position can take in all, so in deep models"
        " many tokens come out alike. Like rollout it knows neither values nor signs.",
        analysis="attention-flow",
    ),
)


@analysis("attention-flow", needs={"pattern"}, title="Attention flow")
@torch.no_grad()
def attention_flow(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    position: Annotated[
        Position | None, "Which position is explained; none: where the model answers (last, or masked)"
    ] = None,
    residual: Annotated[float, Within(0, 1), "Share of itself that each position keeps in every layer"] = 0.5,
    layers: Annotated[
        tuple[Layer, ...], "After which layers (of the decoder, where there are two stacks); none: all"
    ] = (),
    shares: Annotated[bool, "Divide the flows to a position by their sum"] = False,
    everywhere: Annotated[bool, "Also the flows to all other positions: many more of them to find"] = False,
    normalize: Annotated[bool, "Divide rows of attention that do not sum to one by their sum"] = False,
) -> TokenScores:
    """How much of each token can come to the position that answers, after each layer, if attention is a pipe's width.

    Each layer's attention, mean over heads, is mixed with what positions keep of themselves; these are the capacities
    of the edges of a graph, and the score is the exact maximum flow between the position and the token. Each token has
    the whole graph to itself, so scores do not sum to one. They are never below rollout, nor above 1. An
    encoder-decoder is one graph of both sides' tokens. One forward pass, and a maximum flow for each token and layer.
    Abnar & Zuidema (2020), "Quantifying Attention Flow in Transformers".
    """
    return explain(
        METHODS[0],
        model,
        prompt,
        position=position,
        residual=residual,
        layers=layers,
        shares=shares,
        everywhere=everywhere,
        normalize=normalize,
    )
