"""Progress of long work: anything may report it, whoever listens may show it or stop the work.

The listener is a context variable, so two people at once do not see each other's progress.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Listener = Callable[[str, int, int | None], None]
"""Called with (label, steps done, steps in all or None); may raise `Stopped` to end the work."""

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


@contextmanager
def reporting(listener: Listener | None) -> Iterator[None]:
    """Send every report made inside the `with` (and by this thread or task) to `listener`; None silences them."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
