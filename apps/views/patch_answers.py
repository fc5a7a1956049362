"""The answers of both runs in columns, left and right, with their difference, or the patched run's, between them."""

from typing import TYPE_CHECKING, Any

from apps.text import visible
from apps.views.component import component

if TYPE_CHECKING:
    from workbench.analyses.circuits.patched_answers import PatchedAnswers

MOST = 10
"""Answers shown; the files hold all."""


def patch_answers(found: "PatchedAnswers", *, key: str) -> Any:
    """Draw the table: the two answers that are compared first, then the likeliest of any run."""
    return component("patch_answers")(key=key, data=answers_data(found))


def answers_data(found: "PatchedAnswers") -> dict[str, Any]:
    """What the browser reads: a row an answer, probabilities of the runs."""
    clean, patched, corrupted = found.log_probs.exp().tolist()
    rows: dict[str, dict[str, Any]] = {}
    pairs = zip(("answer", "foil"), (found.token, found.foil), found.probabilities.T.tolist(), strict=True)
    for kind, text, numbers in pairs:
        if text:
            rows[text] = {"text": visible(text), "kind": kind, "numbers": numbers}
    by_chance = sorted(range(len(clean)), key=lambda i: -max(clean[i], patched[i], corrupted[i]))
    for i in by_chance:
        numbers = [clean[i], patched[i], corrupted[i]]
        rows.setdefault(found.answers[i], {"text": visible(found.answers[i]), "kind": "", "numbers": numbers})
    return {
        "rows": list(rows.values())[:MOST],
        "patched": bool(found.interventions),
        "into": 2 if found.direction == "denoise" else 0,
    }
