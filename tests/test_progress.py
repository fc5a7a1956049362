"""Progress goes to whoever listens, in this thread only, and the listener may end the work."""

import threading

import pytest

from workbench import Stopped
from workbench.progress import Pace, report, reporting, track


def test_tracks_before_the_first_and_after_each():
    heard = []
    with reporting(lambda *step: heard.append(step)):
        assert list(track("ab", label="letters")) == ["a", "b"]
    assert heard == [("letters", 0, 2), ("letters", 1, 2), ("letters", 2, 2)]


def test_an_unknown_length_is_none():
    heard = []
    with reporting(lambda *step: heard.append(step)):
        list(track(iter("a")))
    assert heard == [("", 0, None), ("", 1, None)]


def test_nobody_listening_is_fine():
    report("alone", 1, 1)
    assert list(track([1])) == [1]


def test_stopping_ends_the_loop_and_the_listener_goes_away():
    done = []

    def stop(label, steps, total):
        if steps == 2:
            raise Stopped("enough")

    with pytest.raises(Stopped), reporting(stop):
        for item in track(range(5)):
            done.append(item)
    assert done == [0, 1]
    report("after", 2, 5)


def test_threads_do_not_hear_each_other():
    heard = []
    with reporting(lambda *step: heard.append(step)):
        other = threading.Thread(target=report, args=("other", 1, 1))
        other.start()
        other.join()
    assert heard == []


def test_the_time_left_is_that_of_the_pace_so_far():
    now = 0.0
    pace = Pace(clock=lambda: now)
    assert pace.left("training", 100, 1000) == ""
    now = 2.0
    assert pace.left("training", 120, 1000) == ""  # too early to tell
    now = 4.0
    assert pace.left("training", 140, 1000) == "about 86 s left"  # 40 in 4 s, not 140; 860 are left
    assert pace.left("training", 140, 100_000) == "about 3 h left"
    now = 8.0
    assert pace.left("training", 180, 2000) == "about 3 min left"
    assert pace.left("training", 1000, 1000) == pace.left("training", 150, None) == ""
    assert pace.left("another", 5, 10) == ""
    now = 20.0
    assert pace.left("another", 9, 10) == "about 3 s left"
    assert pace.left("another", 1, 10) == ""  # begun again
