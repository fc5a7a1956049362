"""The loss on repeats, with all heads and without one of them."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.analyses.heads.repeated_blocks import RepeatedBlocks, batch
from workbench.capabilities import lacking
from workbench.errors import MissingCapability
from workbench.functional.precision import precise
from workbench.hooks import editing, reading
from workbench.models.lens_model import LensModel
from workbench.progress import track

NEEDS = {"logits", "causal", "z"}
"""What a model needs for a loss without a head."""


def next_losses(
    model: LensModel, logits: Float[Tensor, "pos vocab"] | None, ids: Int[Tensor, "token"], blocks: RepeatedBlocks
) -> Float[Tensor, "pos"]:
    """The loss in nats on the token at each position; NaN at the first, and where the model predicts no next token."""
    losses = torch.full((blocks.length,), torch.nan)
    if logits is None or not {"logits", "causal"} <= model.capabilities or model.classes is not None:
        return losses
    target = ids[: blocks.length] if model.main.side != "target" else ids[: blocks.length - 1]  # it opens by itself
    told = logits[: blocks.length - 1]
    read = target[len(target) - len(told) :].to(logits.device)
    losses[1:] = torch.nn.functional.cross_entropy(precise(told), read, reduction="none").float().cpu()
    return losses


@torch.no_grad()
def loss_without(
    model: LensModel, blocks: RepeatedBlocks, whole: Float[Tensor, "sequence pos"]
) -> Float[Tensor, "sequence layer head"]:
    """How much the loss on the repeats grows when a head's output is its mean over all positions and sequences.

    On the repeats from their second token on; `whole` are the losses with all heads. Raises `MissingCapability` for a
    model that predicts no next token. One forward pass a head and sequence.
    """
    if missing := NEEDS - model.capabilities:
        raise MissingCapability(lacking("Removing heads", model.name, missing))
    name = f"{model.main.prefix}.{model.main.attentions[0]}"
    sites = model.attention_sites(name, "z")
    rows = blocks.ids.split(1)
    sums = [torch.zeros(()) for _ in sites]
    for row in rows:
        with reading(model, sites) as values:
            model.module(**batch(model, row, blocks.length))
        sums = [total.to(values[site]) + values[site].mean((0, 1)) for total, site in zip(sums, sites, strict=True)]
    means = [total / len(rows) for total in sums]  # (head, d_head) each
    known = slice(blocks.before + blocks.period + 1, None)
    found = torch.zeros(len(rows), model.n_blocks, model.n_heads)
    heads = [(layer, head) for layer in range(model.n_blocks) for head in range(model.n_heads)]
    for layer, head in track(heads, label="heads removed"):
        with editing(model, {sites[layer]: partial(_replaced, head=head, by=means[layer][head])}):
            for i, row in enumerate(rows):
                logits = model.logits(batch(model, row, blocks.length))[0]
                losses = next_losses(model, logits, row[0], blocks)
                found[i, layer, head] = losses[known].mean() - whole[i][known].mean()
    return found


def _replaced(z: Float[Tensor, "batch pos head d_head"], *, head: int, by: Float[Tensor, "d_head"]) -> Tensor:
    z = z.clone()
    z[:, :, head] = by
    return z
