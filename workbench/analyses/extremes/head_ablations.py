"""Heads ablated one at a time over many inputs: output set to zero, or all attention put on the first token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.activations.batches import Batch, Inputs, collate, valid
from workbench.analyses.attribution.target import answers_of
from workbench.analyses.extremes.losses import next_token_losses
from workbench.analyses.one_prompt import precise
from workbench.analyses.sound import need_sound_logits
from workbench.hooks import Edit, editing
from workbench.models.lens_model import LensModel
from workbench.progress import track

TOKENS_AT_ONCE = 512
"""Inputs run together until they have as many positions."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ablated:
    """What the answers lose without each of some heads, over the inputs of one corpus."""

    loss: Float[Tensor, "way head"]
    """Rise of the mean next-token loss, in nats: with the output zero, with all attention on the first token."""
    kl: Float[Tensor, "way head"]
    """Mean KL(unaltered || ablated) of the answers, in nats."""
    base: float
    """Mean next-token loss of the unaltered model; NaN where none is predicted."""
    n_tokens: int
    n_answers: int


def silent(head: int) -> Edit:
    """The edit of z that leaves one head nothing to say."""

    def edit(z: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos head d_head"]:
        return z.index_fill(2, torch.tensor([head], device=z.device), 0.0)

    return edit


def parked(head: int) -> Edit:
    """The edit of a pattern that puts all of one head's attention on the first key."""

    def edit(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query key"]:
        new = pattern.clone()
        new[:, head] = 0.0
        new[:, head, :, 0] = 1.0
        return new

    return edit


def ablated(model: LensModel, attention: str, inputs: Sequence[Any], heads: Sequence[tuple[int, int]]) -> Ablated:
    """Run the inputs in batches padded on the right, unaltered and with each head ablated in both ways."""
    z, patterns = (model.attention_sites(attention, part) for part in ("z", "pattern"))
    edits: list[dict[str, Edit]] = [{z[layer]: silent(head)} for layer, head in heads]
    edits += [{patterns[layer]: parked(head)} for layer, head in heads]
    losses, kls = (torch.zeros(1 + len(edits), dtype=torch.float64) for _ in range(2))
    n_tokens = n_answers = 0
    for batch in track(list(_batches(model, inputs)) if edits else [], label="ablations"):
        plain = _answers(model, batch)
        mask = valid(batch, model.main.side, plain.shape[1])
        counted = torch.ones(plain.shape[:2], dtype=torch.bool, device=plain.device) if mask is None else mask
        sums, counts = next_token_losses(model, plain, batch)
        need_sound_logits(model, plain[counted])
        losses[0] += sums.sum()
        n_tokens, n_answers = n_tokens + int(counts.sum()), n_answers + int(counted.sum())
        for number, changed in enumerate(edits, 1):
            with editing(model, changed):
                after = _answers(model, batch)
            losses[number] += next_token_losses(model, after, batch)[0].sum()
            for a, b, kept in zip(plain, after, counted, strict=True):
                kls[number] += functional.kl_divergence(precise(a[kept]), precise(b[kept])).double().sum().cpu()
    return Ablated(
        loss=((losses[1:] - losses[0]) / n_tokens).view(2, -1),
        kl=(kls[1:] / n_answers).view(2, -1),
        base=losses[0].item() / n_tokens if n_tokens else torch.nan,
        n_tokens=n_tokens,
        n_answers=n_answers,
    )


def _answers(model: LensModel, batch: Batch) -> Float[Tensor, "batch pos vocab"]:
    with model.lock:  # no other thread's edits are in this pass
        logits = answers_of(model.module(**batch))
    return logits if logits.ndim == 3 else logits[:, None]


def _batches(model: LensModel, raw: Sequence[Any]) -> Iterator[Batch]:
    """Inputs of like length together."""
    given = Inputs(model=model, raw=raw)
    encoded = [given.encode(number) for number in range(len(raw))]
    width = [max(len(model.labels(one, side=stack.side)) for stack in model.stacks) for one in encoded]
    group: list[Batch] = []
    for number in sorted(range(len(raw)), key=lambda i: width[i]):
        if group and (len(group) + 1) * width[number] > TOKENS_AT_ONCE:
            yield collate(given, group)
            group = []
        group.append(encoded[number])
    if group:
        yield collate(given, group)
