"""A file is written whole or not at all."""

import errno

import pytest

from workbench import BadFile
from workbench.files import check_writable, write_atomically


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "één")
    assert path.read_bytes() == "één".encode()
    write_atomically(path, b"2")
    assert path.read_bytes() == b"2"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadFile, match=r"No space left on device. Nothing was changed"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_says_what_is_wrong_with_the_place(tmp_path):
    with pytest.raises(BadFile, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(BadFile, match="does not exist"):
        check_writable(tmp_path / "no" / "file")


def test_keeps_the_permissions_of_the_file_it_replaces(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_atomically(path, "new")
    assert path.stat().st_mode & 0o777 == 0o640
