"""How well a model predicts what it reads: the loss of each next token, for models that read causally."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.activations.batches import valid
from workbench.analyses.one_prompt import precise
from workbench.models.lens_model import LensModel


def predicts(model: LensModel) -> bool:
    """Whether it gives a probability to each next token: a causal stack with a trained language-model head."""
    return {"causal", "readout"} <= model.capabilities


def next_token_losses(
    model: LensModel, logits: Float[Tensor, "batch *pos vocab"], batch: Mapping[str, Tensor]
) -> tuple[Float[Tensor, "batch"], Int[Tensor, "batch"]]:
    """Sums of the losses of all tokens but the first, in nats, and how many these are; padding does not count.

    0 of 0 tokens for models that predict no next token.
    """
    if not predicts(model):
        return torch.zeros(len(logits), dtype=torch.float64), torch.zeros(len(logits), dtype=torch.long)
    side = model.main.side
    ids = batch["decoder_input_ids" if side == "target" else model.architecture.input_name]
    mask = valid(batch, side, ids.shape[1])
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    counted = real[:, :-1] & real[:, 1:]
    losses = torch.zeros(counted.shape, dtype=torch.float64, device=ids.device)
    for row in range(len(ids)):  # one row's log-probabilities at a time
        rows = precise(logits[row, :-1])
        losses[row] = torch.nn.functional.cross_entropy(rows, ids[row, 1:], reduction="none").double()
    return losses.where(counted, 0.0).sum(1).cpu(), counted.sum(1).cpu()
