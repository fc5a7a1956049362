"""Captures killed (-9) at any moment lose only the batches in flight, and end as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench import ActivationStore

ROOT = Path(__file__).parents[2]
SEED = 20


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    if sys.platform == "win32":
        pytest.fail("needs fork and SIGKILL; run it on Linux or macOS")
    root = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.killing", str(root), "20", str(SEED)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root, json.loads(done.stdout)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_twenty_random_kills_lose_only_what_was_in_flight(killed):
    root, reports = killed
    kills = reports["random"]
    assert len(kills) == 20 and all(kill["killed"] for kill in kills)
    shards = [kill["shards"] for kill in kills]
    assert shards == sorted(shards), "a kill lost a batch that was on disk"
    assert 0 < shards[-1] < 130, "the kills did not fall in the middle"
    assert len(set(shards)) > 10
    assert not any(kill["bad"] for kill in kills)


def test_resumed_after_twenty_kills_it_is_the_uninterrupted_store(killed):
    root, _ = killed
    frame = ActivationStore(root / "random").to_frame()
    lengths = frame.groupby("input").size()
    assert lengths.index.tolist() == list(range(260))
    assert not frame.duplicated(["input", "position"]).any()
    assert contents(root / "random") == contents(root / "whole")


def test_killed_at_every_step_of_writing_it_resumes_to_the_same(killed):
    root, reports = killed
    steps, want = reports["steps"], contents(root / "short")
    assert len(steps) > 20
    assert sum(step["leftovers"] for step in steps) > 3, "no kill fell inside the writing of a file"
    assert not any(step["bad"] for step in steps)
    assert {step["shards"] for step in steps} == {0, 1, 2, 3}
    for number in range(len(steps)):
        assert contents(root / "steps" / str(number)) == want
