"""All studies at once: as many at a time as there are cores for, and one that fails does not keep the others."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.studies.apart import run_apart
from workbench.studies.form import ROOT, known
from workbench.studies.running import StudyRun

MOST_AT_ONCE = 2
"""Studies at a time where nothing else is asked for: one may take two gigabytes of memory."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ran:
    """A study that was to be run: what it found, or why it found nothing."""

    name: str
    run: StudyRun | None
    error: str
    seconds: float
    """With the start of Python."""

    @property
    def as_expected(self) -> bool:
        """Whether it ran, and no claim fails that should hold, nor the other way round."""
        return self.run is not None and self.run.as_expected


def run_all(names: Sequence[str] | None = None, *, root: Path = ROOT, jobs: int | None = None) -> Iterator[Ran]:
    """Run the fast form of all studies, or of those named, and give each in order as soon as it is there.

    `jobs` at a time (default: as many as there are cores, at most two), which share the cores.
    """
    names, cores = known(root) if names is None else names, len(os.sched_getaffinity(0)) if _linux() else os.cpu_count()
    jobs = min(MOST_AT_ONCE, cores or 1) if jobs is None else jobs
    threads = max(1, (cores or 1) // jobs)
    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(lambda name: _ran(name, root, threads), names)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _linux() -> bool:
    return hasattr(os, "sched_getaffinity")


def _ran(name: str, root: Path, threads: int) -> Ran:
    started = time.perf_counter()
    run, error = None, ""
    try:
        run = run_apart(name, root=root, threads=threads)
    except (WorkbenchError, OSError) as raised:
        error = " ".join(str(raised).split()) or type(raised).__name__
    return Ran(name=name, run=run, error=error, seconds=time.perf_counter() - started)
