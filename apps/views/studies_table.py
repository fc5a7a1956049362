"""Claims of a study as a table for the eye: verdict in word and colour, claim, expected beside obtained, and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from workbench.studies import Claim, StudyRun, Verdict
from workbench.studies.telling import expected, obtained

COLOURS = {
    "holds": "holds",
    "does not reproduce": "known",
    "fails": "fails",
    "holds after all": "fails",
    "not measured": "open",
    "not run yet": "open",
}
"""What becomes of a claim -> the colour of its word."""
PLURAL = {
    "holds": "hold",
    "does not reproduce": "do not reproduce",
    "fails": "fail",
    "holds after all": "hold after all",
}
MARKS = {"holds": "✓", "does not reproduce": "≠", "fails": "✗", "holds after all": "!"}


def claims_table(claims: Sequence[Claim], verdicts: Sequence[Verdict], *, dark: bool) -> str:
    """One row a claim; without verdicts what is expected alone."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Verdict", "Claim", "Expected", "Obtained"))
    rows = [_row(verdict.claim, verdict) for verdict in verdicts] or [_row(claim, None) for claim in claims]
    table = f'<table class="wb-claims"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="{_theme(dark)}">{table}</div>'


def counts(verdicts: Iterable[Verdict], *, dark: bool) -> str:
    """How many claims came out how, as a row of coloured words."""
    many = Counter(verdict.outcome for verdict in verdicts)
    words = [_pill(f"{n} {PLURAL.get(outcome, outcome) if n > 1 else outcome}", outcome) for outcome in COLOURS
             if (n := many[outcome])]  # fmt: skip
    return f'<div class="{_theme(dark)} wb-counts">{"".join(words)}</div>'


def told(run: StudyRun) -> str:
    """When and with what this was found."""
    seconds = f" in {run.seconds:.0f} s" if run.seconds == run.seconds else ""
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return f"Found on {run.when[:16].replace('T', ' at ')} UTC{seconds}, {run.form} form; {versions}."


def _theme(dark: bool) -> str:
    return "wb-dark" if dark else "wb-light"


def _row(claim: Claim, verdict: Verdict | None) -> str:
    control = '<span class="wb-control" title="It could refute the others">control</span>' if claim.control else ""
    outcome = verdict.outcome if verdict else "not run yet"
    why = verdict.reason if verdict and outcome != "holds" else claim.not_reproduced if verdict is None else ""
    reason = f'<div class="reason">{escape(why)}</div>' if why else ""
    return (
        f'<tr><td class="verdict">{_word(outcome)}</td>'
        f'<td class="claim">{escape(claim.says)}{control}{reason}'
        f'<div class="source">{escape(claim.quantity)} · {escape(claim.source)}</div></td>'
        f'<td class="expected number">{escape(expected(claim))}</td>'
        f'<td class="obtained">{escape(obtained(verdict)) if verdict else "–"}</td></tr>'
    )


def _word(outcome: str) -> str:
    return _pill(f"{MARKS[outcome]} {outcome}" if outcome in MARKS else outcome, outcome)


def _pill(text: str, outcome: str) -> str:
    return f'<span class="wb-word wb-{COLOURS[outcome]}">{text}</span>'
