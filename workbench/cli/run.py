"""`workbench list` and `workbench run ANALYSIS`: the flags come from the analysis's own signature."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli import load, output, progress
from workbench.cli.parser import Parser, literal
from workbench.index import Entry, index

if TYPE_CHECKING:
    from workbench.params import Param
    from workbench.registry import Analysis


def add_to(commands: Any) -> None:
    """Add `list` and `run`."""
    listing = commands.add_parser("list", help="name the analyses", description="Name the analyses, by group.")
    listing.set_defaults(handle=_list)
    run = commands.add_parser(
        "run",
        help="run one analysis",
        description="Run one analysis of one model. `workbench run ANALYSIS --help` shows its options.",
    )
    names = run.add_subparsers(title="analyses", dest="analysis", metavar="ANALYSIS", required=True)
    for entry in index().analyses.values():
        about = literal(entry.summary)
        names.add_parser(entry.name, help=about, description=about, fill=partial(_fill, entry.name))


def _list(_: argparse.Namespace) -> int:
    groups: dict[str, list[Entry]] = {}
    for entry in index().analyses.values():
        groups.setdefault(entry.group, []).append(entry)
    width = max((len(entry.name) for entry in index().analyses.values()), default=0)
    for group, entries in sorted(groups.items()):
        print(f"{group}:")
        for entry in entries:
            print(f"  {entry.name:{width}}  {output.visible_text(entry.summary)}")
    for broken in index().broken:
        print(f"workbench: {broken}", file=sys.stderr)
    return 0


def _fill(name: str, parser: Parser) -> None:
    from workbench.registry import get

    analysis = get(name)
    parser.add_argument("--model", default=load.DEFAULT, help=f"{load.NAMES} (default: {load.DEFAULT})")
    for p in analysis.params:
        _add(parser, p, path="text" not in analysis.needs and bool({"image", "audio"} & analysis.needs))
    load.add_options(parser)
    group = parser.add_argument_group("what to do with the result")
    group.add_argument("--out", type=Path, metavar="FILE", help="save the result here (workbench.load_result reads it)")
    group.add_argument("--figure", type=Path, metavar="FILE", help="draw it here: .html, .png, .svg, .json or .csv")
    form = group.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the whole table as JSON records")
    form.add_argument("--csv", action="store_true", help="print the whole table as CSV")
    parser.set_defaults(handle=partial(_run, analysis))


def _add(parser: Parser, p: "Param", *, path: bool) -> None:
    from workbench.spelling import flag

    text = literal(p.help.rstrip("."))
    plain_type = {int: "N", float: "X", str: "TEXT"}.get(p.item if p.type is tuple else p.type, "VALUE")  # type: ignore
    metavar = "{" + ",".join(map(str, p.choices)) + "}" if p.choices else p.kind.upper()
    metavar = plain_type if p.kind in ("int", "float", "str", "tuple", "any") else metavar
    if p.kind == "prompt" and p.required:
        metavar = "PATH" if path else p.name.upper()
        parser.add_argument(p.name, metavar=metavar, help=text, nargs="+" if p.type is tuple else None)
        return
    if p.kind == "task":
        from workbench.tasks import names

        text += f": {', '.join(names())}, or a table of your own"
    if p.kind == "variable":
        from workbench.variables import names

        text += f": {', '.join(names())}, 0-99, red,green,blue, a file with one value a line, or ids:0-58"
    if p.within:
        text += f", {p.within}"
    if not p.required and p.default not in (None, ()):
        text += f" (default: {literal(_shown(p.default))})"
    if p.type is bool:
        parser.add_argument(flag(p.name), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        return
    action = "append" if p.type is tuple else "store"
    if p.type is tuple:
        text += "; may be given several times"
    parser.add_argument(
        flag(p.name), action=action, metavar=metavar, default=argparse.SUPPRESS, required=p.required, help=text
    )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _run(analysis: "Analysis", arguments: argparse.Namespace) -> int:
    from workbench.files import check_writable
    from workbench.plots.export import check_figure_path, write_figure

    given = {p.name: parse(p, getattr(arguments, p.name)) for p in analysis.params if hasattr(arguments, p.name)}
    if arguments.out:
        check_writable(arguments.out)
    if arguments.figure:
        check_figure_path(arguments.figure)
    with progress.shown():
        model = load.load(arguments.model, arguments)
        result = analysis(model, **given)
        frame = result.to_frame()
    if arguments.out:
        result.save(arguments.out)
    if arguments.figure:
        write_figure(result.figure(), arguments.figure, frame=frame)
    if arguments.json:
        print(output.records(frame))
    elif arguments.csv:
        print(frame.to_csv(index=False), end="")
    else:
        said, table = result.brief()
        for line in said.splitlines():
            print(output.visible_text(line))
        print(output.table(table))
        if table.shape != frame.shape and not table.empty:
            print(f"(of {len(frame)} rows in all: --json or --csv prints them)")
    return 0


def parse(p: "Param", text: Any) -> Any:
    """The value that a flag's text stands for; what cannot be read goes on as text, for `Param.check` to refuse."""
    if isinstance(text, list):
        wanted = p.item
        if text == [""] and p.default != ():  # how `as_command` spells an empty list
            return p.check(())
        if wanted is str or p.kind == "prompt":
            return p.check(tuple(text))
        parts = [part for item in text for part in item.split(",") if part != ""]
        return p.check(tuple(_read(part, wanted) for part in parts))
    return p.check(_read(text, p.type))


def _read(text: Any, wanted: type | None) -> Any:
    try:
        return {int: int, float: float}[wanted](text) if wanted in (int, float) else text  # type: ignore[index]
    except ValueError:
        return text
