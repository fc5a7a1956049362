"""How a benchmark is declared and measured: ratios side by side in one run, memory in a process of its own.

@bench("reading all patterns", at_most=1.10, unit="x the eager forward")
def patterns() -> float:
    "Medians of alternating runs, 128 tokens."     # the docstring tells how it was measured
    return ratio(ours, theirs, rounds=9)
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measured:
    """A number, and what else was seen while measuring it."""

    value: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A benchmark: what it measures, and the bound it must keep."""

    name: str
    unit: str
    how: str
    measure: Callable[[], float | Measured]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def bound(self) -> str:
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"

    def keeps(self, value: float) -> bool:
        """Whether `value` is within the bound."""
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)


BENCHES: dict[str, Bench] = {}
"""All benchmarks by name; filled by importing the files beside this one."""


def bench(
    name: str, *, unit: str, at_most: float | None = None, at_least: float | None = None
) -> Callable[[Callable[[], float | Measured]], Callable[[], float | Measured]]:
    """Register the decorated function, which gives the measured number; its docstring says how it was measured."""
    if (at_most is None) == (at_least is None):
        raise ValueError(f"{name!r} needs either at_most or at_least.")

    def register(function: Callable[[], float | Measured]) -> Callable[[], float | Measured]:
        if name in BENCHES:
            raise ValueError(f"There already is a benchmark called {name!r}.")
        how = " ".join((function.__doc__ or "").split())
        BENCHES[name] = Bench(name=name, unit=unit, how=how, measure=function, at_most=at_most, at_least=at_least)
        return function

    return register


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Measured:
    """Median over rounds of ours / theirs, the two taken one after the other, in turns first; both give seconds."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            second, first = theirs(), ours()
        else:
            first, second = ours(), theirs()
        pairs.append((first, second))
    ratios = sorted(mine / other for mine, other in pairs)
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    note = f"{medians[0]:.3g} s against {medians[1]:.3g} s; {rounds} pairs, ratios {ratios[0]:.2f} to {ratios[-1]:.2f}"
    return Measured(statistics.median(ratios), note)


def in_fresh_process(function: str, *arguments: Any) -> Any:
    """What `module:function` gives for plain arguments, run in a new interpreter; the answer must be JSON."""
    module, _, name = function.partition(":")
    code = (
        f"import json, sys\nfrom {module} import {name}\n"
        f"answer = {name}(*json.loads(sys.argv[1]))\nsys.stdout.write('\\n' + json.dumps(answer))"
    )
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{function}{arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.rpartition("\n")[2])


def peak_memory(work: Callable[[], Any]) -> tuple[int, int]:
    """(the process's peak resident bytes during `work`, by how much that exceeds what it held before). Linux only."""
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = _status()["VmRSS"]
    work()
    return (peak := _status()["VmHWM"]), peak - before


def _status() -> Mapping[str, int]:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    import platform

    import torch

    return {
        "cpus": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": [round(number, 2) for number in os.getloadavg()],
    }
