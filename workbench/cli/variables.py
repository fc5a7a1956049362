"""`workbench variables`: what variables there are, and which tokens a model has for one."""

import argparse
from typing import Any

from workbench.cli import load, output, progress

ALSO = "Also: a range (0-99, 0-100:10), a list (red,green,blue), a file with one value a line, or token ids (ids:0-58)."


def add_to(commands: Any) -> None:
    """Add `variables`."""
    variables = commands.add_parser(
        "variables",
        help="name the variables, or show one in a model's tokens",
        description="Name the variables: ordered lists such as days and digits. With one, show its tokens in a model.",
    )
    variables.add_argument("name", nargs="?", metavar="VARIABLE", help="a name, a range, a list, a file, or ids:0-58")
    variables.add_argument("--model", default=load.DEFAULT, help=f"{load.NAMES} (default: {load.DEFAULT})")
    load.add_options(variables)
    variables.set_defaults(handle=_variables)


def _variables(arguments: argparse.Namespace) -> int:
    if arguments.name is None:
        from workbench.variables import BUILTIN

        rows = [
            (name, f"{given.about}{', and round again' if given.cyclic else ''}") for name, given in BUILTIN.items()
        ]
        print(output.columns(rows, header=("name", "values")))
        print(f"\n{ALSO}")
        return 0
    from workbench.variables import variable

    with progress.shown():
        model = load.load(arguments.model, arguments)
        found = variable(arguments.name, model)
    print(output.visible_text(found.said))
    if found.ids is not None:
        rows = [
            (label, str(number), repr(model.token_text(number)))
            for label, number in zip(found.labels, found.ids.tolist(), strict=True)
        ]
        print(output.columns(rows, header=("value", "id", "token")))
    return 0
