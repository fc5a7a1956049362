"""Perturb: many altered variants of one prompt, run in batches, and what the target becomes in each.

The methods that ask for causes (occlusion, attention knockout, AtMan) and the check of all others are made of this.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import progress
from workbench.analyses.attribution.evidence import Evidence, stacks
from workbench.analyses.attribution.target import answers_of
from workbench.functional.precision import precise
from workbench.hooks import Edit, editing, reading

Batch = Mapping[str, Tensor]
Vary = Callable[[Tensor, Batch], tuple[Batch, Mapping[str, Edit]]]
"""(numbers of the variants in this batch, the prompt once for each) -> (what the model reads, edits of its sites)."""

MOST_BYTES, MOST_ROWS = 2**28, 64
"""A batch of variants is as large as its values fit into a quarter of a gigabyte, by a rough upper estimate."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcomes:
    """What the target is in each variant."""

    score: Float[Tensor, "variant"]
    """The target's logit (or difference of logits); without a trained head, the cosine of the final state at the
    explained position with the one of the unaltered prompt."""
    log_probability: Float[Tensor, "variant"] | None
    """Natural logarithm of the answer's probability (with a foil: between the two); None without a trained head."""

    @property
    def probability(self) -> Float[Tensor, "variant"] | None:
        """The answer's probability."""
        return None if self.log_probability is None else self.log_probability.exp()


@torch.no_grad()
def outcomes(evidence: Evidence, n: int, vary: Vary, *, batch_size: int | None = None) -> Outcomes:
    """Run `n` variants of the prompt, each as if it ran alone: one forward pass a variant, in batches.

    Can be stopped between batches by whoever listens to progress. Without a trained head one more pass gives the
    state to compare with.
    """
    model, target = evidence.model, evidence.target
    size = batch_size or rows_at_once(evidence)
    state, answers = model.stream("resid_post")[-1], target.answer is not None
    if not answers:
        with reading(model, state) as values:
            model.module(**evidence.batch)
        original = precise(values[state][:, target.index])  # (1, d_model)
    found: list[Tensor] = []
    for rows in progress.track(torch.arange(n).split(size), label="variants"):
        rows = rows.to(next(iter(evidence.batch.values())).device)
        batch, edits = vary(rows, {name: repeated(value, len(rows)) for name, value in evidence.batch.items()})
        with editing(model, edits), reading(model, () if answers else state) as values:
            output = model.module(**batch)
        if answers:
            logits = answers_of(output)
            found.append(torch.stack([target.of(logits), target.log_probability(logits)]))
        else:
            now = precise(values[state][:, target.index])
            found.append(torch.cosine_similarity(now, original, dim=-1)[None])
    table = torch.cat(found, dim=1)
    return Outcomes(score=table[0], log_probability=table[1] if answers else None)


def unaltered(evidence: Evidence) -> float:
    """The target's value on the prompt as it is, in the units of `Outcomes.score`."""
    return 1.0 if evidence.score is None else evidence.score


def effects_of(evidence: Evidence, found: Outcomes) -> Float[Tensor, "variant"]:
    """How far the answer falls in each variant; negative where it rises.

    With a foil, the difference of their two logits. Without, the log-probability, which is the logit against all
    others: where something is taken away all logits often move together, and that is no change of the answer. An
    answer that has no others (one output, or labels that do not exclude another) by its logit. Without a trained
    head, 1 - cosine of the final state.
    """
    target = evidence.target
    if evidence.logits is None or target.foil is not None or target.alone or found.log_probability is None:
        return unaltered(evidence) - found.score
    return evidence.target.log_probability(evidence.logits[None]) - found.log_probability


def unit_of(evidence: Evidence) -> str:
    """What `effects_of` is measured in, in words."""
    if evidence.logits is None:
        return "1 - cosine of the final state"
    if evidence.target.alone and evidence.target.foil is None:
        return "the logit"
    return "log-probability, in nats" if evidence.target.foil is None else "difference of logits"


def fall_text(evidence: Evidence) -> str:
    """What `effects_of` is of, in words: "fall of the log-probability of ' Paris' at position 4"."""
    target = evidence.target
    if evidence.logits is None:
        return f"turn of the {target.text}"
    plain = target.foil is not None or target.alone
    return f"fall of the {target.text if plain else target.text.replace('logit', 'log-probability', 1)}"


def rounding_note(evidence: Evidence) -> str:
    """What half precision hides: which effects are no larger than the steps between its numbers."""
    dtype, height = evidence.model.dtype, abs(unaltered(evidence))
    if dtype.itemsize >= 4:
        return ""
    kind = str(dtype).removeprefix("torch.")
    return f"The model runs in {kind}: effects below about {torch.finfo(dtype).eps * max(height, 1):.1g} are rounding."


def rows_at_once(evidence: Evidence, *, graph: bool = False) -> int:
    """How many variants fit into one batch, by a rough upper estimate of what one forward pass holds at a time.

    With `graph`, of what it holds to go back through: all layers instead of one.
    """
    model, n = evidence.model, len(evidence.tokens)
    widths = [4 * n * stack.sizes.n_heads + 16 * stack.sizes.d_model for stack in stacks(model)]
    layers = [stack.n_blocks for stack in stacks(model)]
    held = sum(w * count for w, count in zip(widths, layers, strict=True)) if graph else max(widths)
    answers = model.vocab_size * 2 if model.classes is None and evidence.target.answer is not None else 0
    return max(1, min(MOST_ROWS, MOST_BYTES // (4 * n * (held + answers))))


def repeated(value: Tensor, n: int) -> Tensor:
    """A batch of one as a batch of `n`."""
    return value.expand(n, *value.shape[1:]).contiguous()
