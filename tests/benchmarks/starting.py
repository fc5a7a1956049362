"""How fast things start: the import, and the commands that must not import torch."""

import statistics
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.harness import ROOT, Measured, bench, ratio, seconds

COMMANDS = ("--help", "list", "models", "study list")
WITHOUT_TORCH = """
import sys
from workbench.cli import main
sys.argv = ["workbench", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
sys.exit(7 if "torch" in sys.modules else 0)
"""


def _python(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False).returncode


def _importing(package: str) -> float:
    return seconds(lambda: _python("-c", f"import {package}"))


@bench("import workbench", at_most=1.2, unit="x import torch")
def importing() -> Measured:
    """Fresh interpreters in turns, pairwise median."""
    for package in ("torch", "workbench"):
        _importing(package)
    return ratio(lambda: _importing("workbench"), lambda: _importing("torch"), 5)


def _command(words: str) -> Measured:
    program = str(Path(sys.executable).with_name("workbench"))

    def run() -> None:
        subprocess.run([program, *words.split()], cwd=ROOT, capture_output=True, check=True)

    if _python("-c", WITHOUT_TORCH, *words.split()) != 0:
        raise RuntimeError(f"workbench {words} imports torch, or fails")
    run()
    return Measured(statistics.median(seconds(run) for _ in range(7)), "torch not imported.")


for _words in COMMANDS:

    @bench(f"workbench {_words}", at_most=0.5, unit="s")
    def command(words: str = _words) -> Measured:
        """Median of seven runs of the installed command."""
        return _command(words)
