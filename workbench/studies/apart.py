"""A study in a process of its own: it can be stopped at any moment, and what it breaks is its own."""

import json
import math
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

from workbench.errors import WorkbenchError
from workbench.progress import report
from workbench.studies.form import ROOT, study
from workbench.studies.keeping import kept
from workbench.studies.running import StudyRun

EVERY = 0.2
"""Seconds between two reports while the study says nothing."""


def run_apart(name: str, *, root: Path = ROOT, threads: int | None = None) -> StudyRun:
    """Run the fast form of a study as `workbench study run` does, and give the finding that it kept.

    What it reports is reported here, and at least every fifth of a second how long it has run, so that a listener can
    stop it. `threads` bounds the processor's threads that it takes. Raises `WorkbenchError` with its last words when
    it ends by an error.
    """
    study(name, root)  # a study that cannot be read is said before anything is started
    command = [sys.executable, "-m", "workbench.cli", "study", "run", name, "--folder", str(root), "--reports"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if threads is not None:
        env |= {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=env)
        try:
            done = _listened(process, name)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    found = kept(name, root) if done else None
    if found is None:
        words = said.strip().splitlines() or [f"it said nothing (exit code {code})"]
        last = words[-1].removeprefix("workbench: ").removeprefix("this is a fault of the workbench: ")
        raise WorkbenchError(f"The study {name} ended by an error: {last}")
    return found


def _listened(process: "subprocess.Popen[bytes]", name: str) -> bool:
    """Hand on what it reports until it ends; whether it said that its finding is kept."""
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
    started, last, done = time.monotonic(), (f"Starting {name}", 0, None), False
    while True:
        try:
            line = lines.get(timeout=EVERY)
        except queue.Empty:
            line = b""
        if line is None:
            return done
        said = _said(line)
        done = done or "kept" in said
        if "label" in said:
            last = said["label"] or name, said["done"], said["total"]
        report(f"{last[0]}, {math.floor(time.monotonic() - started)} s", last[1], last[2])


def _pump(stream: IO[bytes] | None, lines: "queue.SimpleQueue[bytes | None]") -> None:
    try:
        for line in stream or ():
            lines.put(line)
    except ValueError:  # closed while it was read: the study was stopped
        pass
    lines.put(None)


def _said(line: bytes) -> dict[str, Any]:
    """One report; whatever else a study may print is left alone."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
