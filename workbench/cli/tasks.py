"""`workbench tasks`: what tasks there are, and which of their examples a model can read and gets right."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from workbench.cli import load, output, progress
from workbench.cli.parser import literal

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel
    from workbench.tasks import Doing, Task

SHOWN = 3  # pairs of prompts
ANSWERS = 6  # of a set
DRAW = (64, 0, "task")  # examples, seed and metric unless others are asked for
HEADER = ("task", "usable of tried", "metric", "clean", "corrupted", "accuracy", "top answer", "no gap", "does it")


def add_to(commands: Any) -> None:
    """Add `tasks`."""
    tasks = commands.add_parser(
        "tasks",
        help="name the tasks, or say how well a model does them",
        description=(
            "Name the tasks. With a model, say of each how many examples it can read and how well it does them; with a"
            " task too, also why others were left out, and show a few."
        ),
    )
    tasks.add_argument("name", nargs="?", metavar="TASK", help="a task, or a table with clean, corrupted, target, foil")
    tasks.add_argument("--model", help=f"{load.NAMES} (default with TASK: {load.DEFAULT})")
    tasks.add_argument("--examples", type=int, default=DRAW[0], metavar="N", help="how many examples (default: 64)")
    tasks.add_argument("--seed", type=int, default=DRAW[1], metavar="N", help="seed of the draw (default: 0)")
    tasks.add_argument(
        "--metric", default=DRAW[2], help=literal("task (its own), logit-diff, prob-diff, log-prob or kl")
    )
    tasks.add_argument("--json", action="store_true", help="print numbers and all examples as JSON")
    load.add_options(tasks)
    tasks.set_defaults(handle=_tasks)


def _tasks(arguments: argparse.Namespace) -> int:
    from workbench.tasks import BUILTIN

    if (arguments.examples, arguments.seed, arguments.metric) != DRAW:
        from workbench.tasks.sources import check_draw

        check_draw(arguments.examples, arguments.seed, arguments.metric)
    if arguments.name is None and arguments.model is None:
        rows = [(name, built_in.metric, built_in.about) for name, built_in in BUILTIN.items()]
        print(output.columns(rows, header=("name", "metric", "what it asks")))
        print("\nAlso: the path of a table with the columns clean, corrupted, target and foil.")
        return 0
    with progress.shown():
        model = load.load(arguments.model or load.DEFAULT, arguments)
        if arguments.name is not None:
            task, doing = _measured(model, arguments.name, arguments)
        else:
            return _all(model, arguments)
    if arguments.json:
        about = {"made": task.made, "dropped": dict(task.dropped), "note": task.note}
        print(json.dumps({**asdict(doing), **about, "prompts": _records(model, task)}, indent=1))
        return 0
    for line in (task.said, *_numbers(doing)):
        print(output.visible_text(line))
    for record in _records(model, task)[:SHOWN]:
        print()
        print(output.columns([(name, _shortened(value)) for name, value in record.items() if value]))
    return 0


def _all(model: "LensModel", arguments: argparse.Namespace) -> int:
    from workbench.errors import BadInput
    from workbench.tasks import names

    rows, found = [], {}
    for name in names():
        try:
            task, doing = _measured(model, name, arguments)
        except BadInput as error:
            rows.append((name, "0", *[""] * (len(HEADER) - 3), "no"))
            found[name] = {"why_not": str(error)}
            continue
        counts = f"{len(task)} of {task.made}", doing.metric
        numbers = (f"{x:.2f}" for x in (doing.clean, doing.corrupted, doing.accuracy, doing.top))
        rows.append((name, *counts, *numbers, str(doing.without_gap), "no" if doing.why_not else "yes"))
        found[name] = {**asdict(doing), "made": task.made, "dropped": dict(task.dropped)}
    print(json.dumps(found, indent=1) if arguments.json else output.columns(rows, header=HEADER))
    return 0


def _measured(model: "LensModel", name: str, arguments: argparse.Namespace) -> "tuple[Task, Doing]":
    from workbench.tasks import doable, draw

    task = draw(name, model, examples=arguments.examples, seed=arguments.seed, metric=arguments.metric)
    return task, doable(model, task)


def _numbers(doing: "Doing") -> tuple[str, ...]:
    from workbench.tasks.form import counted

    unit = {"log-prob": " nats", "kl": " nats", "logit-diff": " (logits)"}.get(doing.metric, "")
    return (
        f"{doing.metric}: {doing.clean:.3f} on clean prompts, {doing.corrupted:.3f} on corrupted ones{unit}.",
        f"The targets are ahead of the foils on {doing.accuracy:.1%} of clean prompts, and the model's first answer on "
        f"{doing.top:.1%}; without a gap between the two: {doing.without_gap} of {counted(doing.examples, 'pair')}.",
        doing.why_not or f"{doing.model} does {doing.task}.",
    )


def _records(model: "LensModel", task: "Task") -> list[dict[str, Any]]:
    return [
        {
            "clean": example.texts[0],
            "corrupted": example.texts[1],
            "targets": [model.token_text(number) for number in example.targets],
            "foils": [model.token_text(number) for number in example.foils],
            "tag": example.tag,
        }
        for example in task.examples
    ]


def _shortened(value: Any) -> str:
    if isinstance(value, str):
        return value
    more = f" and {len(value) - ANSWERS} more" if len(value) > ANSWERS else ""
    return ", ".join(map(repr, value[:ANSWERS])) + more
