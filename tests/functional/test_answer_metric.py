"""One number for an answer: against plain Python, and against torch's own losses."""

import math

import pytest
import torch
from torch.nn import functional as F

from workbench.errors import BadInput, UnknownName
from workbench.functional import METRICS, answer_metric

TARGETS = torch.tensor([[2, -1, -1], [0, 3, 4], [5, 1, -1]])
FOILS = torch.tensor([[4, 0], [1, -1], [-1, 3]])


def logits_of(seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return (3 * torch.randn(3, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def by_hand(row: list[float], targets: list[int], foils: list[int], metric: str, reference: list[float]) -> float:
    def probabilities(values: list[float]) -> list[float]:
        total = math.fsum(math.exp(v) for v in values)
        return [math.exp(v) / total for v in values]

    right, wrong = [t for t in targets if t >= 0], [f for f in foils if f >= 0]
    p = probabilities(row)
    if metric == "logit-diff":
        return sum(row[t] for t in right) / len(right) - sum(row[f] for f in wrong) / len(wrong)
    if metric == "prob-diff":
        return sum(p[t] for t in right) - sum(p[f] for f in wrong)
    if metric == "log-prob":
        return math.log(sum(p[t] for t in right))
    return -math.fsum(a * math.log(a / b) for a, b in zip(probabilities(reference), p, strict=True))


@pytest.mark.parametrize("metric", METRICS)
def test_is_what_a_plain_loop_gives(metric):
    logits, reference = logits_of(), logits_of(1)
    found = answer_metric(logits, TARGETS, FOILS, metric, reference)
    rows = zip(logits.tolist(), TARGETS.tolist(), FOILS.tolist(), reference.tolist(), strict=True)
    expected = torch.tensor([by_hand(r, t, f, metric, ref) for r, t, f, ref in rows], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_log_prob_and_kl_are_torchs_losses():
    logits, reference = logits_of(), logits_of(1)
    targets, foils = torch.tensor([[2], [0], [5]]), torch.tensor([[1], [1], [1]])
    torch.testing.assert_close(
        answer_metric(logits, targets, foils, "log-prob"), -F.cross_entropy(logits, targets[:, 0], reduction="none")
    )
    whole = F.kl_div(logits.log_softmax(-1), reference.log_softmax(-1), log_target=True, reduction="batchmean")
    torch.testing.assert_close(answer_metric(logits, targets, foils, "kl", reference).mean(), -whole)
    assert answer_metric(logits, targets, foils, "kl", logits).eq(0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_are_derivatives(metric):
    logits, reference = logits_of().requires_grad_(), logits_of(1)
    assert torch.autograd.gradcheck(lambda x: answer_metric(x, TARGETS, FOILS, metric, reference), logits)


@pytest.mark.parametrize("metric", METRICS)
def test_half_precision_is_computed_in_float32(metric):
    half, reference = logits_of(dtype=torch.bfloat16), logits_of(1, torch.bfloat16)
    found = answer_metric(half, TARGETS, FOILS, metric, reference)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, answer_metric(half.float(), TARGETS, FOILS, metric, reference.float()))


def test_more_padding_changes_nothing():
    logits = logits_of()
    wider = F.pad(TARGETS, (1, 2), value=-1), F.pad(FOILS, (2, 0), value=-1)
    for metric in ("logit-diff", "prob-diff", "log-prob"):
        torch.testing.assert_close(
            answer_metric(logits, *wider, metric), answer_metric(logits, TARGETS, FOILS, metric), rtol=0, atol=1e-15
        )


def test_what_cannot_be_answered_is_a_sentence():
    logits, none = logits_of(), torch.full((3, 1), -1)
    with pytest.raises(UnknownName, match="No metric called 'logit_diff'. Did you mean 'logit-diff'"):
        answer_metric(logits, TARGETS, FOILS, "logit_diff")
    with pytest.raises(BadInput, match="3 of 3 rows have no foil"):
        answer_metric(logits, TARGETS, none, "prob-diff")
    assert answer_metric(logits, TARGETS, none, "log-prob").isfinite().all()
    with pytest.raises(BadInput, match="3 of 3 rows have no target"):
        answer_metric(logits, none, FOILS, "log-prob")
    with pytest.raises(BadInput, match="Answers run from 0 to 5"):
        answer_metric(logits, TARGETS + 1, FOILS, "logit-diff")
    with pytest.raises(BadInput, match="give them as `reference`"):
        answer_metric(logits, TARGETS, FOILS, "kl")
