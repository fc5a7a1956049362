"""`workbench study list | run NAME | run --all | notebook NAME`: the case studies, and what becomes of their claims."""

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli import output, progress
from workbench.errors import BadFile, BadInput

if TYPE_CHECKING:
    from workbench.studies import Ran, StudyRun

PAGE = "studies"
"""The app's page of case studies."""


def add_to(commands: Any) -> None:
    """Add `study` and what follows it."""
    top = commands.add_parser(
        "study", help="run case studies", description="Questions from papers, with claims that are measured here."
    )
    parts = top.add_subparsers(title="commands", dest="study command", metavar="COMMAND", required=True)
    each = parts.add_parser("list", help="name the studies", description="Every case study and its question.")
    each.add_argument("--folder", **FOLDER)
    each.set_defaults(handle=_list)
    run = parts.add_parser(
        "run",
        help="measure and judge the claims",
        description="Run a study on its committed checkpoints and judge its claims. Exit code 1 if a claim fails that "
        "the study says should hold; a claim that is known not to reproduce is shown as such. What was found is kept "
        "for the app, which shows it with --open.",
    )
    run.add_argument("name", metavar="NAME", nargs="?", help="a name from `workbench study list`")
    run.add_argument("--all", action="store_true", help="run all studies in the fast form, and print one table")
    run.add_argument("--train", action="store_true", help="train again from scratch and compare (minutes)")
    run.add_argument("--long", action="store_true", help="train more seeds and controls (see the study's README)")
    run.add_argument("--out", type=Path, metavar="FOLDER", help="keep numbers, tables and figures there")
    run.add_argument("--open", action="store_true", help="open the app on what was found")
    run.add_argument("--port", type=int, help="with --open: where the app listens")
    run.add_argument("--no-browser", action="store_true", help="with --open: do not open the browser")
    run.add_argument("--jobs", type=int, metavar="N", help="with --all: studies at a time (default: cores, at most 2)")
    run.add_argument("--folder", **FOLDER)
    run.add_argument("--reports", action="store_true", help=argparse.SUPPRESS)  # progress as JSON, for the app
    run.set_defaults(handle=_run)
    notebook = parts.add_parser(
        "notebook", help="write a study's notebook", description="Make the notebook of a study from its code."
    )
    notebook.add_argument("name", metavar="NAME", help="a name from `workbench study list`")
    notebook.add_argument("--out", type=Path, metavar="FILE", help="where to (default: in the study's folder)")
    notebook.add_argument("--folder", **FOLDER)
    notebook.set_defaults(handle=_notebook)


FOLDER: dict[str, Any] = {
    "type": Path,
    "metavar": "FOLDER",
    "help": "where the studies are (default: case_studies of this checkout)",
}


def _root(arguments: argparse.Namespace) -> Path:
    from workbench.studies.form import ROOT

    return ROOT if arguments.folder is None else arguments.folder.absolute()


def _list(arguments: argparse.Namespace) -> int:
    from workbench.studies import known, study

    root = _root(arguments)
    rows = []
    for name in known(root):
        try:
            found = study(name, root)
            rows.append((name, len(found.claims), found.question))
        except BadFile as error:
            rows.append((name, "–", f"cannot be read: {error}"))
    if not rows:
        print("No case studies here: they are in the repository, so work from a checkout of it.")
        return 0
    print(output.columns(rows, header=("name", "claims", "question")))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    if bool(arguments.name) == arguments.all:
        raise BadInput("Name one study from `workbench study list`, or run all of them with --all; not both.")
    if arguments.all and (arguments.train or arguments.long):
        raise BadInput("All studies are run in the fast form; run them one by one with --train or --long.")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise BadInput(f"--jobs must be at least 1, not {arguments.jobs}.")
    code = _all(arguments) if arguments.all else _one(arguments)
    if arguments.open:
        from workbench.cli.app import serve

        query = {} if arguments.all else {"study": arguments.name}
        return serve(PAGE, query, port=arguments.port, browser=not arguments.no_browser)
    return code


def _one(arguments: argparse.Namespace) -> int:
    from workbench import studies

    with _reports() if arguments.reports else progress.shown():
        run = studies.run_study(arguments.name, train=arguments.train, long=arguments.long, root=_root(arguments))
    if arguments.reports:
        print(json.dumps({"kept": str(studies.keep(run))}))
    else:
        _tell(run, arguments.out)
        try:
            studies.keep(run)
        except BadFile as error:
            if arguments.open:
                raise
            print(f"workbench: the app will not show this finding. {error}", file=sys.stderr)
    return 0 if run.as_expected else 1


def _tell(run: "StudyRun", out: Path | None) -> None:
    from workbench.studies.telling import summary

    print(f"{run.study.question}\n")
    for verdict in run.verdicts:
        label = f"{verdict.outcome}{' (control)' if verdict.claim.control else ''}"
        print(f"{label}: {verdict.claim.says}")
        print(textwrap.fill(f"{verdict.claim.quantity}: {verdict.reason}", 100, initial_indent="    ",
                            subsequent_indent="    "))  # fmt: skip
    print(f"\n{summary(run.verdicts)}")
    if out:
        print(f"Kept in {run.save(out)}.")


@contextmanager
def _reports() -> Iterator[None]:
    """Print what is reported inside the `with`, one JSON object a line."""
    from workbench.progress import reporting

    last = 0.0

    def say(label: str, done: int, total: int | None) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= progress.EVERY:
            last = now
            print(json.dumps({"label": label, "done": done, "total": total}), flush=True)

    with reporting(say):
        yield


def _all(arguments: argparse.Namespace) -> int:
    from workbench.cli import verdicts
    from workbench.studies import run_all

    started, every = time.perf_counter(), []
    print(verdicts.header(), flush=True)
    for ran in run_all(root=_root(arguments), jobs=arguments.jobs):
        every.append(ran)
        print(verdicts.of_study(ran), flush=True)
    print(f"\n{verdicts.of_all(every, time.perf_counter() - started)}")
    if arguments.out:
        _save_all(every, arguments.out)
        print(f"Kept in {arguments.out}.")
    return 0 if every and all(ran.as_expected for ran in every) else 1


def _save_all(every: "list[Ran]", folder: Path) -> None:
    """The table as `studies.csv` and `studies.json`, and everything that each study found in a folder of its own."""
    import pandas as pd

    from workbench.files import write_atomically

    frames = []
    for ran in every:
        if ran.run is None:
            frames.append(pd.DataFrame([{"study": ran.name, "outcome": "raised", "reason": ran.error}]))
            continue
        ran.run.save(folder / ran.name)
        frames.append(ran.run.to_frame().assign(study=ran.name, seconds=round(ran.seconds, 1)))
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"study": []})
    table.insert(0, "study", table.pop("study"))
    write_atomically(folder / "studies.csv", table.to_csv(index=False))
    write_atomically(folder / "studies.json", output.records(table) + "\n")


def _notebook(arguments: argparse.Namespace) -> int:
    from workbench.studies import write_notebook

    print(write_notebook(arguments.name, arguments.out, _root(arguments)))
    return 0
