"""`workbench study list | run NAME | notebook NAME`: the case studies, and what becomes of their claims."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

from workbench.cli import output, progress


def add_to(commands: Any) -> None:
    """Add `study` and what follows it."""
    top = commands.add_parser(
        "study", help="run case studies", description="Questions from papers, with claims that are measured here."
    )
    parts = top.add_subparsers(title="commands", dest="study command", metavar="COMMAND", required=True)
    each = parts.add_parser("list", help="name the studies", description="Every case study and its question.")
    each.set_defaults(handle=_list)
    run = parts.add_parser(
        "run",
        help="measure and judge the claims",
        description="Run a study on its committed checkpoints and judge its claims. Exit code 1 if a claim fails that "
        "the study says should hold; a claim that is known not to reproduce is shown as such.",
    )
    run.add_argument("name", metavar="NAME", help="a name from `workbench study list`")
    run.add_argument("--train", action="store_true", help="train again from scratch and compare (minutes)")
    run.add_argument("--long", action="store_true", help="train more seeds and controls (see the study's README)")
    run.add_argument("--out", type=Path, metavar="FOLDER", help="keep numbers, tables and figures there")
    run.set_defaults(handle=_run)
    notebook = parts.add_parser(
        "notebook", help="write a study's notebook", description="Make the notebook of a study from its code."
    )
    notebook.add_argument("name", metavar="NAME", help="a name from `workbench study list`")
    notebook.add_argument("--out", type=Path, metavar="FILE", help="where to (default: in the study's folder)")
    notebook.set_defaults(handle=_notebook)


def _list(_: argparse.Namespace) -> int:
    from workbench.studies import known, study

    found = [study(name) for name in known()]
    if not found:
        print("No case studies here: they are in the repository, so work from a checkout of it.")
        return 0
    print(output.columns([(s.name, len(s.claims), s.question) for s in found], header=("name", "claims", "question")))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from workbench.studies import run_study

    with progress.shown():
        run = run_study(arguments.name, train=arguments.train, long=arguments.long)
    print(f"{run.study.question}\n")
    for verdict in run.verdicts:
        label = f"{verdict.outcome}{' (control)' if verdict.claim.control else ''}"
        print(f"{label}: {verdict.claim.says}")
        print(textwrap.fill(f"{verdict.claim.quantity}: {verdict.reason}", 100, initial_indent="    ",
                            subsequent_indent="    "))  # fmt: skip
    print(f"\n{_summary([verdict.outcome for verdict in run.verdicts])}")
    if arguments.out:
        print(f"Kept in {run.save(arguments.out)}.")
    return 0 if run.as_expected else 1


def _summary(outcomes: list[str]) -> str:
    """How many claims hold of those that were measured, and what became of the others."""
    count = {outcome: outcomes.count(outcome) for outcome in outcomes}
    held, left = count.get("holds", 0), count.get("not measured", 0)
    words = [f"{held} of the {len(outcomes) - left} claims measured here {'holds' if held == 1 else 'hold'}"]
    verbs = {
        "fails": ("fails", "fail"),
        "does not reproduce": ("does not reproduce", "do not reproduce"),
        "holds after all": ("holds after all", "hold after all"),
    }
    words += [f"{n} {verbs[outcome][n > 1]}" for outcome in verbs if (n := count.get(outcome, 0))]
    rest = f"; {left} {'was' if left == 1 else 'were'} not measured in this form" if left else ""
    return f"{', '.join(words)}{rest}."


def _notebook(arguments: argparse.Namespace) -> int:
    from workbench.studies import write_notebook

    print(write_notebook(arguments.name, arguments.out))
    return 0
