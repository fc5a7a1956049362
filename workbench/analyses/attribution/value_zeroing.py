"""Value zeroing: how much each position's next state turns when a token's values are missing in one layer."""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, progress
from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.perturb import repeated, rows_at_once
from workbench.analyses.attribution.places import Side, attentions, sides
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.hooks import Edit, editing
from workbench.models.lens_model import LensModel
from workbench.registry import Position, Prompt, analysis


def _scores(evidence: Evidence, chain: bool = True) -> Scores:
    turned = _turned(evidence)
    total = turned.sum(-1, keepdim=True)
    itself = torch.eye(turned.shape[-1], dtype=turned.dtype, device=turned.device)
    maps = torch.where(total > 0, turned / total.where(total > 0, 1), itself)
    if chain:
        maps = functional.cumulative_product(maps)
    return Scores(values=maps[:, evidence.row], steps=_steps(sides(evidence)), maps=maps)


def _steps(every: Sequence[Side]) -> tuple[str, ...]:
    names = ("",) if len(every) == 1 else ("encoder ", "decoder ")
    return tuple(
        f"{name}{layer}" for name, side in zip(names, every, strict=True) for layer in range(side.stack.n_blocks)
    )


def _turned(evidence: Evidence) -> Float[Tensor, "step node node"]:
    """(layer, position, token without values): 1 - cosine of the layer's output with what it is with all values.

    All layers come out of one pass: behind each layer every variant is set back to the unaltered state, so that the
    next layer loses the values of this token and of nothing else.
    """
    model, every, n = evidence.model, sides(evidence), len(evidence.tokens)
    layers = [(side, layer) for side in every for layer in range(side.stack.n_blocks)]
    exact = torch.promote_types(model.dtype, torch.float32)
    found = torch.zeros(len(layers), n, n, dtype=exact, device=model.device)
    size = max(1, rows_at_once(evidence) - 1)
    for nodes in progress.track(torch.arange(n, device=model.device).split(size), label="variants"):
        table = torch.zeros(len(nodes) + 1, n, dtype=torch.bool, device=model.device)
        table[torch.arange(1, len(nodes) + 1), nodes] = True  # (the unaltered prompt, then one token each)
        edits: dict[str, Edit] = {}
        for one in attentions(evidence):
            gone = one.keys.spread(table)[:, :, None, None]  # (batch, pos, kv_head, d_head)
            edits[f"{one.path}.v"] = lambda value, gone=gone: value.masked_fill(gone, 0)
        for step, (side, layer) in enumerate(layers):

            def compare(value: Tensor, step: int = step, side: Side = side, nodes: Tensor = nodes) -> Tensor:
                kept = value[:, side.index].double()
                turn = 1 - torch.cosine_similarity(kept[1:], kept[:1], dim=-1)  # (token, position)
                found[step, side.nodes, nodes] = turn.clamp(min=0).T.to(exact)
                return repeated(value[:1], len(value))

            edits[f"{side.stack.prefix}.{layer}.resid_post"] = compare
        with editing(model, edits):
            model.module(**{name: repeated(value, len(table)) for name, value in evidence.batch.items()})
    return found


METHODS = (
    Method(
        name="value-zeroing",
        title="Value zeroing",
        function=_scores,
        cost="one forward a token",
        note="It knows nothing of the answer: only how far states turn, whatever the answer makes of that, and never"
        " in which direction.",
        analysis="value-zeroing",
    ),
)


@analysis("value-zeroing", needs={"pattern", "resid"}, title="Value zeroing")
@torch.no_grad()
def value_zeroing(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    position: Annotated[
        Position | None, "Whose state is explained; none: where the model answers (last, or masked)"
    ] = None,
    chain: Annotated[bool, "Chain the layers, as rollout does; off: each layer by itself"] = True,
) -> TokenScores:
    """How much of a position's state hangs on each token's values, layer by layer, chained over the layers.

    In each layer the values of one token are set to zero in all heads, and the score is how far the layer's output
    turns at every position: 1 - cosine. Rows are then divided by their sums (a row of zeros keeps itself) and chained
    by matrix products, without a residual part of their own because the output holds the residual already. In
    encoder-decoders a decoder layer loses the values of one token of its own, or of one of the encoder's in
    cross-attention, and both share a row. One forward pass a token serves all layers.
    Mohebbi et al. (2023), "Quantifying Context Mixing in Transformers".
    """
    return explain(METHODS[0], model, prompt, position=position, chain=chain)
