"""Norm-based maps: how much each position takes from each other, by the lengths of what is passed between them."""

from functools import partial
from typing import Annotated, Literal

import torch

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.mixing_steps import joined_maps, wanted, wanted_norms
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.models.lens_model import LensModel
from workbench.registry import Position, Prompt, Token, analysis

MapName = Literal["W", "W_FIXEDRES", "W_RES", "N", "N_FIXEDRES", "N_RES", "N_RESLN", "N_ENC"]
NEEDS = frozenset({"pattern", "resid", "norms"})


def _scores(evidence: Evidence, name: str, cumulative: bool = True, normalize: bool = True) -> Scores:
    """One map a step, and the row of the explained position in their product up to there (or in each by itself)."""

    def maps(function, step):
        pattern, values, w_o, own = step.mixed
        through = {}
        if name == "N_RESLN":
            through = {"after_attention": step.after_attention}
        elif name == "N_ENC":
            through = {"after_block": step.after_block}
        return function(pattern, values, w_o, own, names=[name], **through)[name]

    joined = joined_maps(
        evidence,
        partial(maps, functional.mixing_maps),
        partial(maps, functional.cross_mixing_maps),
        normalize=normalize,
    )
    chained = functional.cumulative_product(joined) if cumulative else joined
    return Scores(values=chained[:, evidence.row], steps=evidence.steps, maps=chained)


METHODS = (
    Method(
        name="n-res",
        title="Norms with residual",
        function=partial(_scores, name="N_RES"),
        wants=wanted,
        needs=NEEDS,
        note="Lengths have no sign, so what cancels out is counted twice, and the MLPs are left out.",
        analysis="norm-mixing",
    ),
    Method(
        name="n-enc",
        title="GlobEnc",
        function=partial(_scores, name="N_ENC"),
        wants=wanted_norms,
        needs=NEEDS,
        note="Lengths have no sign, and of the MLPs it knows only how they change the norm that follows.",
        analysis="norm-mixing",
    ),
)


@analysis("norm-mixing", needs=set(NEEDS), title="Norm-based maps")
@torch.no_grad()
def norm_mixing(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Annotated[Token, "Answer at the explained position, for the title; the maps do not depend on it"] = None,
    position: Annotated[
        Position | None, "Position that is explained; none: where the model answers (last, or masked)"
    ] = None,
    measure: Annotated[MapName, "How much of each block is taken into account"] = "N_RES",
    cumulative: Annotated[bool, "Multiply the maps from the first layer up; else each layer by itself"] = True,
    normalize: Annotated[bool, "Divide each row of a layer's map by its sum first"] = True,
) -> TokenScores:
    """How much each token has been passed on to a position, by the lengths of what attention passes.

    W counts attention weights, N the lengths of the weighted values through the output map, N_RES with the position's
    own stream, N_RESLN and N_ENC (GlobEnc) with the norms that follow attention and the block, at their true scales;
    FIXEDRES mixes half of the position itself in, W_RES as much as N_RES finds. Post-norm blocks as published; in
    pre-norm blocks the values come from the normed stream, the position keeps its raw stream, and the norms are those
    that read the result next. Biases of output maps and norms, and the MLPs' own vectors, belong to no token and are
    left out. Kobayashi et al. (2020, 2021), Modarressi et al. (2022, "GlobEnc"). About half a forward pass.
    """
    wants = wanted_norms if measure in ("N_RESLN", "N_ENC") else wanted
    method = Method(
        name=measure.lower().replace("_", "-"),
        title=measure,
        function=partial(_scores, name=measure),
        wants=wants,
        needs=NEEDS,
        note=METHODS[0].note if measure.startswith("N") else "Attention weights say nothing of what is passed.",
    )
    return explain(method, model, prompt, token=token, position=position, cumulative=cumulative, normalize=normalize)
