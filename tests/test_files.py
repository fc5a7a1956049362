"""A file is written whole or not at all."""

import errno
import os
import socket
import threading

import pytest

from workbench import BadFile, BadInput
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
    with pytest.raises(BadInput, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(BadFile, match="does not exist"):
        check_writable(tmp_path / "no" / "file")


def test_keeps_the_permissions_of_the_file_it_replaces(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_atomically(path, "new")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_and_the_file_it_names_is_replaced(tmp_path):
    target, link = tmp_path / "there" / "a.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    assert write_atomically(link, "new") == link
    assert link.is_symlink() and target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_link_to_a_file_that_is_not_yet_there_makes_it(tmp_path):
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "a.txt")
    write_atomically(link, "new")
    assert link.is_symlink() and (tmp_path / "a.txt").read_text() == "new"


def test_links_that_lead_nowhere_are_a_sentence(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(BadFile, match="links"):
        write_atomically(tmp_path / "a", "new")
    lost = tmp_path / "lost"
    lost.symlink_to(tmp_path / "no" / "a.txt")
    with pytest.raises(BadFile, match="does not exist"):
        write_atomically(lost, "new")


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_to_and_never_replaced(tmp_path, linked):
    pipe = given = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        given = tmp_path / "link"
        given.symlink_to(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomically(given, "new")
    assert pipe.is_fifo()
    reader.join(10)
    assert read == ["new"]


def test_what_is_neither_file_nor_pipe_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the whole path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(BadInput, match="not a file"):
            write_atomically(tmp_path / "s", "new")
        assert (tmp_path / "s").is_socket()
