"""Routes: along which heads, MLPs and positions one prediction came about, from a single forward pass.

Reference: Ferrando & Voita (2024), "Information Flow Routes: Automatically Interpreting Language Models at Scale".
"""

from typing import Annotated, Literal

import torch

from workbench.analyses.circuits.route_parts import Measure, Recorded, asked_position, recorded
from workbench.analyses.circuits.route_result import THRESHOLDS, Routes as Routes
from workbench.analyses.circuits.route_trace import traced
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.registry import Position, Prompt, Within, analysis


@analysis("routes", needs={"pattern", "resid", "norms", "one-stack"}, title="Information flow routes")
@torch.no_grad()
def routes(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    position: Annotated[
        Position | None, "Position whose prediction is traced; none: where the model answers (last, or masked)"
    ] = None,
    threshold: Annotated[float, Within(0.0, 1.0), "Parts with a share up to this are left out of the route"] = 0.04,
    renormalise: Annotated[bool, "Divide what is kept of a sum so that its shares are one again"] = True,
    norm: Annotated[Literal["l1", "l2"], "How lengths of vectors are measured"] = "l1",
    drop: Annotated[int, Within(0, 64), "Coordinates left out, those in which each sum is largest"] = 0,
    full: Annotated[bool, "Compute every position, so that routes of all predictions are known"] = False,
) -> Routes:
    """Which heads, MLPs and positions a prediction came through, by how near each part comes to its sum.

    Each block's sums are taken apart: each head's look at each position, the stream before, the bias, the MLP. A part
    counts by how much shorter the sum is without it (`functional.attention_contributions`); from the last state down,
    parts above the threshold are followed. One forward pass, no second prompt. It is not causal: what points along the
    sum counts, used later or not; what overshoots it counts nothing, unless every part does. In post-norm blocks the
    sum before its norm is taken apart. Elementwise work of query * key * d_model for each head, at positions reached
    only unless `full`.
    """
    run = recorded(model, prompt)
    at = asked_position(run, position)
    floor = min(threshold, THRESHOLDS[0])
    found = traced(run, [at], Measure(norm=norm, drop=drop), floor=floor, full=full)
    answer, probability = _answer(run, at)
    result = Routes(
        tokens=run.tokens,
        position=at,
        answer=answer,
        probability=probability,
        threshold=threshold,
        renormalise=renormalise,
        norm=norm,
        drop=drop,
        full=full,
        floor=floor,
        n_heads=model.n_heads,
        parallel=run.parallel and run.has_mlp,
        reached=found.reached,
        reached_mid=found.reached_mid,
        residual=found.residual,
        bias_attn=found.bias_attn,
        mlp=found.mlp,
        residual_mlp=found.residual_mlp,
        head_edge_layer=found.heads["layer"],
        head_edge_query=found.heads["query"],
        head_edge_key=found.heads["key"],
        head_edge_head=found.heads["head"],
        head_edge_weight=found.weights,
    )
    _check_kept(result)
    return result


def _check_kept(result: Routes) -> None:
    best = result.held.max(initial=0.0)
    if best <= result.threshold:
        raise BadInput(
            f"Nothing is left at a threshold of {result.threshold:g}: the largest part of the last state at position"
            f" {result.position} has a share of {best:.3g}. Give a threshold below that; 0.04 is usual."
        )


def _answer(run: Recorded, position: int) -> tuple[str | None, float | None]:
    """The model's own answer at a position and its probability."""
    if run.logits is None or len(run.logits) != len(run.tokens):
        return None, None
    probabilities = run.logits[position].float().softmax(-1)
    best = int(probabilities.argmax())
    return run.model.token_text(best), probabilities[best].item()
