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


_LENGTHS = "Lengths have no sign, so what cancels out is counted twice, and the MLPs are left out."
_WEIGHTS = "Attention weights say nothing of what is passed."
LADDER: tuple[tuple[str, MapName, str, str], ...] = (
    ("w", "W", "Weights", _WEIGHTS),
    ("w-fixedres", "W_FIXEDRES", "Weights and half itself", _WEIGHTS),
    ("w-res", "W_RES", "Weights and measured share", _WEIGHTS),
    ("n", "N", "Norms", f"The stream that goes past attention is left out. {_LENGTHS}"),
    ("n-fixedres", "N_FIXEDRES", "Norms and half itself", _LENGTHS),
    ("n-res", "N_RES", "Norms with residual", _LENGTHS),
    ("n-resln", "N_RESLN", "Norms through one norm", _LENGTHS),
    ("n-enc", "N_ENC", "GlobEnc", "Lengths have no sign, and of the MLPs it knows only how they change the next norm."),
)
"""(method, its map, title, where it misleads), from weights alone to whole blocks."""


def _method(name: str, measure: MapName, title: str, note: str) -> Method:
    return Method(
        name=name,
        title=title,
        function=partial(_scores, name=measure),
        wants=wanted_norms if measure in ("N_RESLN", "N_ENC") else wanted,
        needs=NEEDS,
        note=note,
        analysis="norm-mixing",
    )


METHODS = tuple(_method(*rung) for rung in LADDER)


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
    (method,) = (one for one, rung in zip(METHODS, LADDER, strict=True) if rung[1] == measure)
    return explain(method, model, prompt, token=token, position=position, cumulative=cumulative, normalize=normalize)
