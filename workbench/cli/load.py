"""The options that say which model, the same for every command that loads one."""

import argparse
import re
from typing import TYPE_CHECKING

from workbench.cli.parser import Parser
from workbench.models.catalogue import DEFAULT as DEFAULT

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

NAMES = "a name from `workbench models`, a Hugging Face id, a local folder, or tiny:FAMILY"


def add_options(parser: Parser) -> None:
    """`--revision`, `--checkpoint`, `--dtype`, `--device`."""
    group = parser.add_argument_group("which model")
    group.add_argument("--revision", metavar="REV", help="branch, tag or commit on the hub")
    group.add_argument(
        "--checkpoint", metavar="STEP", help="a training checkpoint: its step (1000, step1000); -1 is the last"
    )
    group.add_argument("--dtype", default="float32", help="number format of the weights (default: float32)")
    group.add_argument("--device", default="cpu", help="where to run (default: cpu)")


def options(arguments: argparse.Namespace) -> dict[str, str | int | None]:
    """The options as `workbench.load` takes them: a checkpoint is a step, or below 0, counted from the end."""
    step = arguments.checkpoint
    return {
        "revision": arguments.revision,
        "checkpoint": int(step) if step and re.fullmatch(r"-\d+", step) else step,
        "dtype": arguments.dtype,
        "device": arguments.device,
    }


def load(name: str, arguments: argparse.Namespace) -> "LensModel":
    """The model that the arguments name."""
    from workbench.models.loading import load

    return load(name, **options(arguments))  # type: ignore[arg-type]
