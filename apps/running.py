"""Runs what takes time: kept results, a progress bar and a stop button after a second, and errors as sentences."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import streamlit as st

from apps.files import NotOpened, offer
from apps.text import plain
from workbench.errors import Stopped, WorkbenchError
from workbench.progress import Pace, reporting

Value = TypeVar("Value")
PATIENCE = 0.7  # seconds before a bar is shown; what is faster would only flicker
_STEP = 0.1  # seconds between two drawings of the bar


def sentences(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows what `function` raises on purpose as one sentence; everything else is a bug and goes on."""

    @wraps(function)
    def shown(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Stopped as stopped:
            st.info("Stopped. Nothing was changed.")
            st.button("Run again", on_click=_again, args=(str(stopped),))
        except NotOpened as error:
            offer(error, function.__name__)
        except (WorkbenchError, ValueError) as error:
            st.error(plain(error) or type(error).__name__)
        return None

    return shown


@contextmanager
def progress(label: str, job: str) -> Iterator[None]:
    """Shows what the work inside reports, and lets the user stop it.

    A click on Stop, or on anything else, asks Streamlit for a new run; the next report then ends this one from inside
    the work, whose own `with` statements put everything back.
    """
    if job in _stopped():
        raise Stopped(job)
    slot = st.empty()
    started = last = time.monotonic()
    bar, pace = None, Pace()

    def show(step: str, done: int, total: int | None) -> None:
        nonlocal bar, last
        now, left = time.monotonic(), pace.left(step, done, total)
        if now - started < PATIENCE or now - last < _STEP:
            return
        last = now
        text = plain(f"{step or label}, {left}" if left else step or label)
        if bar is None:
            with slot.container():
                left, right = st.columns([6, 1], vertical_alignment="bottom")
                bar = left.progress(0.0, text)
                right.button("Stop", key=f"stop:{job}", on_click=_stop, args=(job,), width="stretch")
        bar.progress(min(done / total, 1.0) if total else 0.0, text)

    with reporting(show):
        yield
    slot.empty()


def _stopped() -> set[str]:
    return st.session_state.setdefault("running:stopped", set())


def _stop(job: str) -> None:
    _stopped().add(job)


def _again(job: str) -> None:
    _stopped().discard(job)
