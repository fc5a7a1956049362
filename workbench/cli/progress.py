"""One line of progress on stderr, and only where somebody looks at a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.progress import Pace, reporting

EVERY = 0.1
"""Seconds between redraws; faster cannot be read and slows short steps down."""


@contextmanager
def shown() -> Iterator[None]:
    """Show what is reported inside the `with`, then wipe the line."""
    if not sys.stderr.isatty():
        yield
        return
    last, pace = 0.0, Pace()

    def draw(label: str, done: int, total: int | None) -> None:
        nonlocal last
        now, left = time.monotonic(), pace.left(label, done, total)
        if now - last < EVERY:
            return
        last = now
        many = f"{done}/{total} {done / total:4.0%}" if total else f"{done}"
        sys.stderr.write(f"\r\x1b[K{label[:60]} {many} {left}".rstrip())
        sys.stderr.flush()

    try:
        with reporting(draw):
            yield
    finally:
        if last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
