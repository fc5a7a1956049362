"""An argument parser whose mistakes are one line, and whose flags may be found out only when they are needed."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from workbench.errors import BadInput, UnknownName


class Parser(argparse.ArgumentParser):
    """Raises `BadInput` where argparse would print its usage and end the program."""

    def __init__(self, *args: Any, fill: "Callable[[Parser], None] | None" = None, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)  # an abbreviation breaks when a later version adds a flag
        super().__init__(*args, **kwargs)
        self._fill = fill

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Ask `fill` for the flags the first time this parser is used."""
        fill, self._fill = self._fill, None
        if fill:
            fill(self)
        return super().parse_known_args(args, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            raise UnknownName(action.dest, str(value), action.choices)
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """One line that names the mistake and where to read more."""
        raise BadInput(f"{message} (see `{self.prog} --help`)")


def literal(text: str) -> str:
    """`text` as argparse help wants it: a percent sign is otherwise a format."""
    return text.replace("%", "%%")
