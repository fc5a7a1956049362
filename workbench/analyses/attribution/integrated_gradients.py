"""Integrated gradients: the answer's difference from a baseline, shared out among the tokens."""

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.perturb import rounding_note
from workbench.analyses.attribution.removal import replaced_inputs
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.analyses.attribution.slopes import entering, inputs_of, slopes
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, Within, analysis

Baseline = Literal["mean", "zero", "mask"]
Rule = Literal["gauss-legendre", "midpoint"]

TOLERANCE = 1e-3
"""Share of the difference from the baseline that the scores may miss."""
PIECES, LOOKS, MOST = 4, 8, 512
"""A path starts as 4 pieces with 8 gradients each, and bad pieces are halved until 512 gradients are spent."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _Piece:
    """A piece of the path, and what it adds to each token."""

    start: float
    end: float
    shares: Float[Tensor, "node"]
    missed: float
    """What the sum of the shares is more than the target's change over this piece."""


def _scores(
    evidence: Evidence,
    baseline: Baseline = "mean",
    steps: int | None = None,
    rule: Rule = "gauss-legendre",
    keep_first: bool = True,
) -> Scores:
    ends = _ends(evidence, baseline, keep_first)
    if steps is None:
        pieces, spent = _refined(evidence, ends)
    else:
        pieces, spent = _pieces(evidence, ends, [(0.0, 1.0)], steps, rule), steps
    total = torch.stack([piece.shares for piece in pieces]).sum(0)
    missed = sum(piece.missed for piece in pieces)
    change = float(total.sum()) - missed
    share = f" ({abs(missed / change):.1e} of it)" if change else ""
    note = (
        f"The scores add up to the target's difference from the baseline, {change:.4g}, but for {missed:.2g}{share},"
        f" with {spent} gradients."
    )
    if not change:
        note += " The prompt is no different from its baseline: choose another."
    if abs(missed) > TOLERANCE * abs(change):
        note += " That is more than a thousandth: the path bends too much. Try more steps, or another baseline."
    return Scores(values=total[None], note=f"{note} {rounding_note(evidence)}".strip())


def _ends(evidence: Evidence, baseline: Baseline, keep_first: bool) -> tuple[Tensor, Tensor]:
    """Where the path begins and where it ends: (node, d_embed) each."""
    values = inputs_of(evidence)
    counts = [evidence.sides.count(side) for side in dict.fromkeys(evidence.sides)]
    if baseline == "zero":
        start = torch.zeros_like(values)
    elif baseline == "mask":
        start = replaced_inputs(evidence)
    else:
        start = torch.cat([part.mean(0, keepdim=True).expand_as(part) for part in values.split(counts)])
    if keep_first and counts[-1] > 1:
        first = len(values) - counts[-1]
        start = torch.cat([start[:first], values[first : first + 1], start[first + 1 :]])
    return start, values


def _refined(evidence: Evidence, ends: tuple[Tensor, Tensor]) -> tuple[list[_Piece], int]:
    """Pieces that add up to the target's change within the tolerance, and how many gradients they took.

    Each piece knows what it misses, because the target's values at its two ends are known: the worst ones are halved.
    It is enough when what all miss together is small, and not only because they happen to cancel.
    """
    edges = [i / PIECES for i in range(PIECES + 1)]
    done = _pieces(evidence, ends, list(itertools.pairwise(edges)), LOOKS, "gauss-legendre")
    spent = PIECES * LOOKS
    allowed = TOLERANCE * abs(sum(float(piece.shares.sum()) - piece.missed for piece in done))
    while max(abs(sum(p.missed for p in done)), math.hypot(*(p.missed for p in done))) > allowed:
        done.sort(key=lambda piece: -abs(piece.missed))
        bad = sum(abs(piece.missed) >= abs(done[0].missed) / 4 for piece in done)
        bad = min(bad, (MOST - spent) // (2 * LOOKS))
        if not bad:
            break
        middles = [(piece.start + piece.end) / 2 for piece in done[:bad]]
        halves = [half for p, m in zip(done, middles, strict=False) for half in ((p.start, m), (m, p.end))]
        done = done[bad:] + _pieces(evidence, ends, halves, LOOKS, "gauss-legendre")
        spent += len(halves) * LOOKS
    return done, spent


def _pieces(
    evidence: Evidence, ends: tuple[Tensor, Tensor], spans: list[tuple[float, float]], steps: int, rule: Rule
) -> list[_Piece]:
    start, end = ends
    looks = [functional.quadrature(steps, rule, start=a, end=b) for a, b in spans]
    edges = sorted({edge for span in spans for edge in span})
    at = torch.cat([torch.tensor(edges, dtype=torch.float64), *(at for at, _ in looks)])
    scores, gradients = slopes(evidence, functional.path_points(end, start, at))
    score_at = dict(zip(edges, scores[: len(edges)].tolist(), strict=True))
    found = []
    for (a, b), (_, weights), some in zip(spans, looks, gradients[len(edges) :].split(steps), strict=True):
        shares = functional.integrated_gradients(end, start, some, weights)
        found.append(_Piece(start=a, end=b, shares=shares, missed=float(shares.sum()) - (score_at[b] - score_at[a])))
    return found


METHODS = (
    Method(
        name="integrated-gradients",
        title="Integrated gradients",
        function=_scores,
        wants=entering,
        needs=frozenset({"logits", "gradients", "resid"}),
        signed=True,
        cost="several passes",
        note="It explains the difference from a baseline that is like no text, along a path of such inputs, and changes"
        " with the baseline.",
        analysis="integrated-gradients",
    ),
)


@analysis("integrated-gradients", needs={"logits", "gradients", "resid"}, title="Integrated gradients")
@torch.no_grad()
def integrated_gradients(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    baseline: Annotated[
        Baseline, "Where the path begins: mean of the prompt's vectors, zeros, or all tokens masked"
    ] = "mean",
    steps: Annotated[int | None, Within(1, 4096), "Gradients on the path; none: as many as it takes, up to 512"] = None,
    rule: Annotated[Rule, "How a given number of steps is spread over the path"] = "gauss-legendre",
    keep_first: Annotated[
        bool, "Leave the first position on the answering side (start or class token) as it is; it then scores 0"
    ] = True,
) -> TokenScores:
    """How the answer's difference from a baseline is shared out among the tokens, by gradients along a straight path.

    All token vectors move together in a straight line from the baseline to where they enter the model; a token's score
    is the integral of the gradient along its way. The scores add up to the target's difference from the baseline
    (completeness); what they miss is in the note. Without `steps` the path is cut finer where it bends until it misses
    less than a thousandth, or 512 gradients are spent. The first position is kept because decoders that lose their
    first token lose the place where idle attention rests, and the target then jumps along the path. `mask` is the mask
    token, else the unknown token, else the mean. One forward and one backward pass a step.
    Sundararajan, Taly & Yan (2017), "Axiomatic Attribution for Deep Networks".
    """
    return explain(
        METHODS[0],
        model,
        prompt,
        token=token,
        foil=foil,
        position=position,
        baseline=baseline,
        steps=steps,
        rule=rule,
        keep_first=keep_first,
    )
