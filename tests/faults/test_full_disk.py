"""A disk that fills up during a capture: a sentence that says so, a store that is still good, and a way on."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from workbench import ActivationStore, BadFile, BadInput, reporting
from workbench.activations import estimating
from workbench.capture import capture
from workbench.store import shards
from workbench.testing import tiny_model

TEXTS = ["abc" * (1 + n) for n in range(12)]
SITES = "blocks.*.resid_post"


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2")


@pytest.fixture
def whole(model, tmp_path):
    return capture(model, TEXTS, SITES, batch_size=2, store=tmp_path / "whole")


def goes_on_to_the_same(model, folder, whole):
    part = ActivationStore(folder)
    assert 0 < len(part.manifest.shards) < 6 and part.verify() == ()
    assert not [p.name for p in folder.iterdir() if p.name.endswith(shards.PART)]
    assert capture(model, TEXTS, SITES, batch_size=2, store=folder).complete
    files = [{p.name: p.read_bytes() for p in f.iterdir() if p.name != ".lock"} for f in (folder, whole.folder)]
    assert files[0] == files[1]


@contextlib.contextmanager
def small_disk(folder):
    """A file system of one megabyte, where the system lets us mount one; yields whether it did."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_others_fill(model, tmp_path, whole, monkeypatch):
    with small_disk(tmp_path / "disk") as mounted:
        folder, ballast = tmp_path / "disk" / "store", tmp_path / "disk" / "ballast"
        full = []

        def fill(label, done, total):
            if (label, done) == ("capturing", 3):
                full.append(True)
                if mounted:
                    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                        while file.write(bytes(4096)):
                            pass

        if not mounted:  # no right to mount: the operating system's answer is given in its place
            real = Path.open

            class Full:
                def __init__(self, file):
                    self.file = file

                def __enter__(self):
                    return self

                def __exit__(self, *error):
                    self.file.close()

                def write(self, data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            def open_on_full(path, *args, **kwargs):
                file = real(path, *args, **kwargs)
                return Full(file) if full and args[:1] == ("wb",) else file

            monkeypatch.setattr(Path, "open", open_on_full)
        with reporting(fill), pytest.raises(BadFile, match="disk is full: .* batches are safe.*Free some space"):
            capture(model, TEXTS, SITES, batch_size=2, store=folder)
        full.clear()
        ballast.unlink(missing_ok=True)
        goes_on_to_the_same(model, folder, whole)


def test_a_limit_on_the_size_of_files(model, tmp_path, whole):
    """Later inputs are longer, so that a limit between the smallest and the largest shard stops it half-way."""
    sizes = sorted(shard.bytes for shard in whole.manifest.shards)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    resource.setrlimit(resource.RLIMIT_FSIZE, ((sizes[2] + sizes[3]) // 2, hard))
    try:
        with pytest.raises(BadFile, match="disk is full.*3 of 6 batches are safe"):
            capture(model, TEXTS, SITES, batch_size=2, store=tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    goes_on_to_the_same(model, tmp_path / "store", whole)


def test_too_small_a_disk_is_refused_before_anything_runs(model, tmp_path, monkeypatch):
    monkeypatch.setattr(estimating.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10_000}))
    with pytest.raises(BadInput, match=r"still needs .*kB and the disk of .* has 10\.0 kB free"):
        capture(model, TEXTS, SITES, store=tmp_path / "store")


def test_a_folder_that_may_not_be_written(model, tmp_path, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(BadFile, match="cannot be written .Permission denied"):
        capture(model, TEXTS, SITES, store=tmp_path / "store")
