"""Verdicts in few words: what was expected, what was obtained, how many claims held, and why others were left out."""

import math
from collections.abc import Iterable

from workbench.studies.form import Claim
from workbench.studies.judging import Outcome, Verdict

FEW = 3
"""Seeds whose values are all written; of more, the smallest and the largest."""
_VERBS: dict[Outcome, tuple[str, str]] = {
    "fails": ("fails", "fail"),
    "does not reproduce": ("does not reproduce", "do not reproduce"),
    "holds after all": ("holds after all", "hold after all"),
}


def expected(claim: Claim) -> str:
    """The bound: "> 0.98"."""
    return f"{claim.relation} {claim.bound:g}"


def obtained(verdict: Verdict) -> str:
    """What was measured, seeds beside each other: "0.99  0.98  1"; of many the range: "0.9 to 0.99 (5)"."""
    values = list(verdict.values.values())
    if not values:
        return "–"
    if len(values) <= FEW:
        return "  ".join(map(number, values))
    real = [value for value in values if not math.isnan(value)]
    ends = f"{number(min(real))} to {number(max(real))}" if real else "undefined"
    undefined = f", {len(values) - len(real)} undefined" if real and len(real) < len(values) else ""
    return f"{ends} ({len(values)}{undefined})"


def number(value: float) -> str:
    """A value with three figures."""
    return "undefined" if math.isnan(value) else f"{value:.3g}"


def summary(verdicts: Iterable[Verdict]) -> str:
    """How many claims hold of those that were measured, and what became of the others."""
    outcomes = [verdict.outcome for verdict in verdicts]
    held, left = outcomes.count("holds"), outcomes.count("not measured")
    if outcomes and left == len(outcomes):
        return f"None of the {left} claims was measured."
    words = [f"{held} of the {len(outcomes) - left} claims measured here {'holds' if held == 1 else 'hold'}"]
    words += [f"{n} {verbs[n > 1]}" for outcome, verbs in _VERBS.items() if (n := outcomes.count(outcome))]
    rest = f"; {left} {'was' if left == 1 else 'were'} not measured here" if left else ""
    return f"{', '.join(words)}{rest}."


def unmeasured(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Why claims were not measured, and how many for each reason."""
    reasons = [verdict.reason for verdict in verdicts if verdict.outcome == "not measured"]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
