"""What `workbench` does with its arguments, and how it ends: 0 done, 2 the user's mistake, 1 ours."""

import errno
import io
import os
import sys
from collections.abc import Sequence

from workbench.cli.parser import Parser
from workbench.errors import WorkbenchError
from workbench.provenance import own_version

DEBUG = "WORKBENCH_DEBUG"
"""Set to 1 to see the traceback of any error."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)
"""What the system says where output can go no further: no fault of ours."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        code = _handled(argv)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where what goes wrong can still be said
        return code
    except BrokenPipeError:  # `workbench list | head`
        _mute()
        return 0
    except KeyboardInterrupt:
        return _say("stopped.", 130)
    except WorkbenchError as error:
        return _say(" ".join(str(error).split()), 2)
    except OSError as error:
        if error.errno not in FULL:
            return _bug(error)
        _mute()
        return _say(f"the output could not be written: {error.strerror}.", 2)
    except Exception as error:
        return _bug(error)


def _handled(argv: Sequence[str] | None) -> int:
    try:
        arguments = parser().parse_args(argv)
        return arguments.handle(arguments) or 0
    except SystemExit as end:  # --help and --version
        return end.code if isinstance(end.code, int) else 0


def _mute() -> None:
    """Drop what is still to be printed, or closing stdout would complain once more."""
    sys.stdout = io.StringIO()


def parser() -> Parser:
    """All commands. Builds in milliseconds: what is heavy is imported by the command that needs it."""
    from workbench.cli import app, capture, models, run, study, tasks, variables

    top = Parser(
        "workbench",
        description="Look inside transformer models: in an app, here, and in Python.",
        epilog="Exit codes: 0 done, 2 a mistake in what was asked, 1 a fault of the workbench.",
    )
    top.add_argument("--version", action="version", version=f"workbench {own_version()}")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for module in (app, models, run, capture, tasks, variables, study):
        module.add_to(commands)
    return top


def _say(sentence: str, code: int) -> int:
    if os.environ.get(DEBUG) == "1" and sys.exc_info()[1] is not None:
        import traceback

        traceback.print_exc()
    print(f"workbench: {sentence}", file=sys.stderr)
    return code


def _bug(error: Exception) -> int:
    what = " ".join(f"{type(error).__name__}: {error}".split())
    hint = "" if os.environ.get(DEBUG) == "1" else f" Set {DEBUG}=1 to see where."
    return _say(f"this is a fault of the workbench: {what}.{hint}", 1)
