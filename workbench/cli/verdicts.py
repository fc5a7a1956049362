"""The table of all claims for a terminal: claim, expected, obtained, control, verdict; one study after the other."""

import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from workbench.cli.output import visible_text

if TYPE_CHECKING:
    from workbench.studies import Ran, Verdict

WIDTH = 120
_SIZES = (54, 11, 22, 7, 18)
"""Claim, expected, obtained, control, verdict: with two spaces between them, `WIDTH`."""
_COLOURS = {"holds": 32, "does not reproduce": 33, "fails": 31, "holds after all": 31, "could not be run": 31}


def header() -> str:
    """The names of the columns."""
    return _row(("claim", "expected", "obtained", "control", "verdict")) + "\n" + "─" * WIDTH


def of_study(ran: "Ran") -> str:
    """A study with its seconds, its claims, and why some were not measured; or why all of it was not."""
    from workbench.studies.telling import summary, unmeasured

    lines = [f"\n{ran.name} ({ran.seconds:.0f} s)"]
    if ran.run is None:
        return "\n".join([*lines, f"  {coloured('could not be run')}", *_wrapped(ran.error, "      ")])
    lines.append(f"  {ran.run.study.question}")
    for verdict in ran.run.verdicts:
        if verdict.outcome != "not measured":
            lines += _claim(verdict)
    for reason, count in unmeasured(ran.run.verdicts).items():
        lines += _wrapped(f"{count} {'claim' if count == 1 else 'claims'} not measured: {reason}")
    return "\n".join([*lines, f"  {summary(ran.run.verdicts)}"])


def of_all(every: Sequence["Ran"], seconds: float) -> str:
    """The last line: studies, claims, seconds."""
    from workbench.studies.telling import summary

    raised = [ran.name for ran in every if ran.run is None]
    verdicts = [verdict for ran in every if ran.run for verdict in ran.run.verdicts]
    failing = [ran.name for ran in every if ran.run and not ran.as_expected]
    words = [f"{len(every)} studies in {seconds:.0f} s. {summary(verdicts)}"]
    words += [f"Not as expected: {', '.join(failing)}."] if failing else []
    words += [f"Could not be run: {', '.join(raised)}."] if raised else []
    return "\n".join(textwrap.wrap(" ".join(words), WIDTH))


def coloured(outcome: str) -> str:
    """The word, in its colour where somebody looks at a terminal."""
    plain = outcome not in _COLOURS or not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))
    return outcome if plain else f"\x1b[{_COLOURS[outcome]}m{outcome}\x1b[0m"


def _claim(verdict: "Verdict") -> list[str]:
    from workbench.studies.telling import expected, obtained

    said, *more = textwrap.wrap(visible_text(verdict.claim.says), _SIZES[0] - 2) or [""]
    cells = (f"  {said}", expected(verdict.claim), obtained(verdict), "control" if verdict.claim.control else "")
    lines = [f"{_row(cells).ljust(sum(_SIZES[:4]) + 6)}  {coloured(verdict.outcome)}", *(f"  {line}" for line in more)]
    return lines if verdict.outcome == "holds" else [*lines, *_wrapped(verdict.reason, "      ")]


def _row(cells: Iterable[str]) -> str:
    return "  ".join(cell.ljust(size) for cell, size in zip(cells, _SIZES, strict=False)).rstrip()


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(visible_text(text), WIDTH, initial_indent=indent, subsequent_indent=indent)
