"""The command line: `workbench app`, `models`, `fetch`, `check`, `list`, `run`, `capture`, `study`."""

from workbench.cli.main import main as main

__all__ = ["main"]
