"""Progress of long work: anything may report it, whoever listens may show it or stop the work.

The listener is a context variable, so two people at once do not see each other's progress.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Listener = Callable[[str, int, int | None], None]
"""Called with (label, steps done, steps in all or None); may raise `Stopped` to end the work."""

SURE = 3.0
"""Seconds of work before it is said how long the rest takes."""
_listener: ContextVar[Listener | None] = ContextVar("workbench_progress", default=None)


def listening() -> bool:
    """Whether anybody wants to hear of progress."""
    return _listener.get() is not None


def report(label: str, done: int, total: int | None = None) -> None:
    """Say that `done` of `total` steps are behind us. Raises `Stopped` when the listener wants the work ended."""
    if listener := _listener.get():
        listener(label, done, total)


def track(iterable: Iterable[Item], *, total: int | None = None, label: str = "") -> Iterator[Item]:
    """Yield the items of `iterable`, reporting before the first one and after each."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    report(label, 0, total)
    for done, item in enumerate(iterable, start=1):
        yield item
        report(label, done, total)


class Pace:
    """How long the work that is being reported still takes, by how fast it went so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._label: str | None = None
        self._since, self._first = 0.0, 0

    def left(self, label: str, done: int, total: int | None) -> str:
        """The time left in words, such as "about 3 min left"; "" in the first `SURE` seconds of a label."""
        now = self._clock()
        if label != self._label or done < self._first:
            self._label, self._since, self._first = label, now, done
        spent, made = now - self._since, done - self._first
        if spent < SURE or not made or not total or done >= total:
            return ""
        seconds = spent / made * (total - done)
        for size, unit in ((3600, "h"), (60, "min")):
            if seconds >= 1.5 * size:
                return f"about {seconds / size:.0f} {unit} left"
        return f"about {max(seconds, 1):.0f} s left"


@contextmanager
def reporting(listener: Listener | None) -> Iterator[None]:
    """Send every report made inside the `with` (and by this thread or task) to `listener`; None silences them."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
