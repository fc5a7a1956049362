"""Claims held against what was measured: a claim that fails is shown as such, with the numbers and the reason."""

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from workbench.studies.form import Claim, Findings

_HOLDS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
Outcome = Literal["holds", "does not reproduce", "fails", "holds after all", "not measured"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict:
    """What became of one claim."""

    claim: Claim
    values: Mapping[str, float]
    """What was measured, by seed; the key is empty for a single number."""
    outcome: Outcome
    """holds; does not reproduce (and the study says so); fails (it should hold); holds after all (the study says it
    does not); not measured (by this form of the study, or for a lack that the study names)."""
    reason: str

    @property
    def as_expected(self) -> bool:
        """Whether the study's own account of this claim stands."""
        return self.outcome in ("holds", "does not reproduce", "not measured")

    def __str__(self) -> str:
        return f"{self.outcome}: {self.claim.says} ({self.reason})"


def verdicts(findings: Findings, claims: Iterable[Claim]) -> tuple[Verdict, ...]:
    """One verdict for each claim, in order. A claim holds only if every one of its seeds does; NaN never does."""
    return tuple(_verdict(findings, claim) for claim in claims)


def _verdict(findings: Findings, claim: Claim) -> Verdict:
    if claim.quantity not in findings.numbers:
        if why := [reason for begins, reason in findings.skipped.items() if claim.quantity.startswith(begins)]:
            return Verdict(claim=claim, values={}, outcome="not measured", reason=why[0])
        if claim.form == "fast":
            return Verdict(claim=claim, values={}, outcome="fails", reason=f"nothing measured {claim.quantity}")
        reason = f"only `workbench study run NAME --{claim.form}` measures it"
        return Verdict(claim=claim, values={}, outcome="not measured", reason=reason)
    found = findings.numbers[claim.quantity]
    values = {f"seed {k}": float(v) for k, v in found.items()} if isinstance(found, Mapping) else {"": float(found)}
    missing = [seed for seed in claim.seeds if f"seed {seed}" not in values]
    wrong = {k: v for k, v in values.items() if math.isnan(v) or not _HOLDS[claim.relation](v, claim.bound)}
    if missing:
        holds, reason = False, f"not measured for seed {', '.join(map(str, missing))}"
    elif not values:
        holds, reason = False, f"{claim.quantity} has no value"
    elif wrong:
        holds, reason = False, f"{_list(wrong)}, not {claim.relation} {claim.bound:g}"
    else:
        holds, reason = True, f"{_list(values)}, {claim.relation} {claim.bound:g}"
    outcome: Outcome = "holds" if holds else "fails"
    if claim.not_reproduced:
        outcome = "holds after all" if holds else "does not reproduce"
        reason = reason if holds else f"{reason}: {claim.not_reproduced}"
    return Verdict(claim=claim, values=values, outcome=outcome, reason=reason)


def _list(values: Mapping[str, float]) -> str:
    each = (f"{value:.3g}" if not math.isnan(value) else "undefined" for value in values.values())
    return ", ".join(f"{number} ({name})" if name else number for name, number in zip(values, each, strict=True))
