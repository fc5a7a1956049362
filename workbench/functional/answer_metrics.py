"""One number for what a model answers: how far the right answers are ahead of the wrong ones."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput, UnknownName
from workbench.functional.distributions import kl_divergence

NO_ANSWER = -1


def answer_metric(
    logits: Float[Tensor, "batch vocab"],
    targets: Int[Tensor, "batch target"],
    foils: Int[Tensor, "batch foil"],
    metric: str,
    reference: Float[Tensor, "batch vocab"] | None = None,
) -> Float[Tensor, "batch"]:
    """How well each answer does; higher is better whatever the metric. Differentiable, in at least float32.

    `targets` and `foils` are token ids, the right answers and the wrong ones; -1 fills rows that have fewer.
    "logit-diff": mean logit of the targets less that of the foils. "prob-diff": summed probability of the targets
    less that of the foils, from -1 to 1. "log-prob": natural logarithm of the summed probability of the targets.
    "kl": minus KL(reference || logits) in nats, summed over the vocabulary; `reference` holds the logits to stay
    close to. A row without an answer that its metric needs is a `BadInput`.
    """
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return METRICS[metric](logits, targets, foils, reference)


def _logit_diff(logits: Tensor, targets: Tensor, foils: Tensor, _: Tensor | None) -> Tensor:
    return _mean(logits, targets, "target") - _mean(logits, foils, "foil")


def _prob_diff(logits: Tensor, targets: Tensor, foils: Tensor, _: Tensor | None) -> Tensor:
    probabilities = logits.softmax(-1)
    return _sum(probabilities, targets, "target") - _sum(probabilities, foils, "foil")


def _log_prob(logits: Tensor, targets: Tensor, _foils: Tensor, _: Tensor | None) -> Tensor:
    chosen, there = _chosen(logits.log_softmax(-1), targets, "target")
    return chosen.masked_fill(~there, -torch.inf).logsumexp(-1)


def _kl(logits: Tensor, _targets: Tensor, _foils: Tensor, reference: Tensor | None) -> Tensor:
    if reference is None:
        raise BadInput("The metric 'kl' compares with other logits: give them as `reference`.")
    return -kl_divergence(reference.to(logits), logits)


def _mean(values: Tensor, ids: Tensor, what: str) -> Tensor:
    return _sum(values, ids, what) / (ids != NO_ANSWER).sum(-1)


def _sum(values: Tensor, ids: Tensor, what: str) -> Tensor:
    chosen, there = _chosen(values, ids, what)
    return chosen.where(there, 0.0).sum(-1)


def _chosen(values: Tensor, ids: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """(values of the ids, where there is one), each (batch, answer)."""
    vocab, there = values.shape[-1], ids != NO_ANSWER
    if bool(((ids < NO_ANSWER) | (ids >= vocab)).any()):
        raise BadInput(f"Answers run from 0 to {vocab - 1} (-1 where there is none), not {ids.min()} to {ids.max()}.")
    if empty := int((~there.any(-1)).sum()):
        raise BadInput(f"{empty} of {len(ids)} rows have no {what}: give each at least one, or take another metric.")
    return values.gather(-1, ids.clamp(min=0)), there


Metric = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
METRICS: Mapping[str, Metric] = MappingProxyType(
    {"logit-diff": _logit_diff, "prob-diff": _prob_diff, "log-prob": _log_prob, "kl": _kl}
)
"""Name -> function of (logits, targets, foils, reference)."""
