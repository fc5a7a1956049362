"""What is measured of a model at any step: its losses by token, and the scores of its heads."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

import workbench
from case_studies.induction_emergence.data import PERIODS, known, repeating
from workbench import functional

SEQUENCES = 128
SEED = 1  # of sequences that no training sees
EARLY, LATE = (3, PERIODS[0] - 1), (39, 47)
"""Next tokens (0 is the second token): none of the first can be known, all of the last can."""
SCORES = ("prefix_matching_all", "previous_token", "eigenvalues")
"""The scores of heads that are followed."""


def token_losses(model: workbench.LensModel) -> tuple[Float[Tensor, "batch next"], Tensor]:
    """The loss in nats on each next token of held-out sequences, and which of them can be known."""
    ids, periods = repeating(SEQUENCES, SEED)
    logits = model.logits(model.encode(ids))[:, :-1]
    losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return losses, known(periods)


def loss_numbers(model: workbench.LensModel) -> dict[str, float]:
    """The loss on what cannot be known and on what can, and the in-context-learning score."""
    losses, can = token_losses(model)
    return {
        "loss_new": losses[~can].mean().item(),
        "loss": losses[can].mean().item(),
        "in_context": functional.in_context_score(losses, EARLY, LATE).mean().item(),
    }


def head_scores(model: workbench.LensModel, sequences: int = 16, *, remove: bool = False) -> Any:
    """The scores of all heads on three copies of sixteen random tokens."""
    return workbench.head_scores(
        model, period=16, repeats=3, sequences=sequences, start="no", leave_out=0.0, seed=SEED, remove=remove
    )


def head_numbers(found: Any) -> dict[str, float]:
    """Each followed score of each head, as "previous_token.0.3", and the best of each layer, as "previous_token.0"."""
    numbers: dict[str, float] = {}
    for score in SCORES:
        for layer, row in enumerate(found.score(score).tolist()):
            numbers[f"{score}.{layer}"] = max(row)
            numbers |= {f"{score}.{layer}.{head}": value for head, value in enumerate(row)}
    return numbers


def measured(model: workbench.LensModel) -> dict[str, float]:
    """All that is followed over training."""
    return {**loss_numbers(model), **head_numbers(head_scores(model))}


@torch.no_grad()
def loss_without(model: workbench.LensModel, heads: list[tuple[int, int]]) -> float:
    """The loss on what can be known when the outputs of some heads are their means over all tokens."""

    def remover(mine: list[int]) -> Any:
        def remove(z: Tensor) -> Tensor:  # (batch, pos, head, d_head)
            z = z.clone()
            z[:, :, mine] = z[:, :, mine].mean((0, 1), keepdim=True)
            return z

        return remove

    edits = {f"blocks.{layer}.attn.z": remover([h for at, h in heads if at == layer]) for layer, _ in heads}
    with workbench.editing(model, edits):
        losses, can = token_losses(model)
    return losses[can].mean().item()
