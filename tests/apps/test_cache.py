"""The shared cache: bounded, made once, and nothing left of what failed."""

import threading

import pytest

from apps.cache import Cache


def test_the_oldest_goes_when_there_are_too_many():
    cache: Cache[str] = Cache(max_items=2)
    for key in "abca":
        cache.get_or_make(key, lambda key=key: key.upper())
    assert [cache.get(key) for key in "abc"] == ["A", None, "C"]


def test_bytes_are_bounded_but_the_last_value_is_kept():
    cache: Cache[bytes] = Cache(max_items=99, max_bytes=10, size_of=len)
    cache.get_or_make(1, lambda: b"12345")
    cache.get_or_make(2, lambda: b"12345")
    assert len(cache) == 2
    cache.get_or_make(3, lambda: b"x" * 50)
    assert [cache.get(key) for key in (1, 2, 3)] == [None, None, b"x" * 50]


def test_what_fails_leaves_nothing_and_can_be_tried_again():
    cache: Cache[int] = Cache(max_items=2)

    def broken() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_make("a", broken)
    assert cache.get_or_make("a", lambda: 1) == 1


def test_two_threads_make_a_value_once_and_the_one_that_waits_says_so():
    cache: Cache[int] = Cache(max_items=2)
    begun, go_on = threading.Event(), threading.Event()
    made, waited = [], []

    def slow() -> int:
        begun.set()
        go_on.wait(20)
        made.append(1)
        return 7

    first = threading.Thread(target=cache.get_or_make, args=("a", slow))
    first.start()
    assert begun.wait(20)

    def waiting() -> None:
        waited.append(1)
        go_on.set()

    assert cache.get_or_make("a", slow, waiting=waiting) == 7
    first.join(20)
    assert made == [1] and waited


def test_one_who_gives_up_waiting_does_not_disturb_the_other():
    cache: Cache[int] = Cache(max_items=2)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        go_on.wait(20)
        return 7

    first = threading.Thread(target=cache.get_or_make, args=("a", slow))
    first.start()
    assert begun.wait(20)

    def waiting() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_make("a", slow, waiting=waiting)
    go_on.set()
    first.join(20)
    assert cache.get("a") == 7
