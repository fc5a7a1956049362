"""`workbench capture`: write the values of some sites over many inputs to a store on disk; resumes when cut off."""

import argparse
from pathlib import Path
from typing import Any

from workbench.cli import load, progress
from workbench.corpora.text_lines import split
from workbench.errors import BadInput


def add_to(commands: Any) -> None:
    """Add `capture`."""
    capture = commands.add_parser(
        "capture",
        help="write activations to disk",
        description="Run a model over many inputs and keep the values of some sites in a folder. Run it again after "
        "an interruption and it goes on where it stopped.",
    )
    capture.add_argument("inputs", type=Path, metavar="FILE", help="one input a line: a text, or a path for images")
    capture.add_argument("--sites", action="append", required=True, metavar="SITE", help="may be given several times")
    capture.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the store; made if not there")
    capture.add_argument("--batch-size", default="8", metavar="N", help="inputs run at once (default: 8)")
    capture.add_argument("--model", default=load.DEFAULT, help=f"{load.NAMES} (default: {load.DEFAULT})")
    load.add_options(capture)
    capture.set_defaults(handle=_capture)


def _capture(arguments: argparse.Namespace) -> int:
    size = arguments.batch_size
    if not size.isdecimal() or int(size) < 1:
        raise BadInput(f"--batch-size must be a whole number of at least 1, not {size!r}.")
    inputs = _lines(arguments.inputs)
    from workbench.capture import capture

    with progress.shown():
        model = load.load(arguments.model, arguments)
        sites = tuple(site for given in arguments.sites for site in given.split(","))
        store = capture(model, inputs, sites, batch_size=int(size), store=arguments.out)
    print(f"{len(inputs)} inputs, {len(store.sites)} sites: {arguments.out}")
    return 0


def _lines(path: Path) -> list[str]:
    try:
        lines = split(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}; it should hold one input a line.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as text: {error}.") from None
    if not (inputs := [line for line in lines if line.strip()]):
        raise BadInput(f"{path} is empty; it should hold one input a line.")
    return inputs
