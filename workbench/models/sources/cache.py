"""The workbench's own folder of fetched and converted models: whole and checked, or not there.

An entry is filled in a folder beside it and renamed when complete; `complete.json` then lists every file with size and
sha256. A lock file lets one process fill it while others wait; what a killed process left behind is swept away by the
next one.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench import progress
from workbench.errors import BadFile

MANIFEST = "complete.json"
Maker = Callable[[Path, Path], dict[str, Any]]
"""Called with (scratch folder, folder to fill); gives the facts to keep in the manifest."""


def cache_dir() -> Path:
    """Where models are kept: `WORKBENCH_CACHE` if set, else the user's cache folder."""
    if chosen := os.environ.get("WORKBENCH_CACHE"):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("workbench", appauthor=False)


def entry_path(key: str) -> Path:
    """Where the entry `key` is, or would be."""
    return cache_dir() / "models" / key


def stored(key: str, *, verify: bool = False) -> Path | None:
    """The folder of a complete entry, or None; checks that all files have their size, with `verify` also their sha256.

    Raises `BadFile` naming the damaged file.
    """
    folder = entry_path(key)
    if not (folder / MANIFEST).is_file():
        return None
    for name, expected in manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != expected["bytes"]:
            raise BadFile(f"{path} is missing or has changed size since it was stored.")
        if verify and sha256(path) != expected["sha256"]:
            raise BadFile(f"{path} has changed since it was stored: its sha256 differs.")
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    """What is known of an entry: `files` (name to bytes and sha256) and the facts it was stored with."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not all({"bytes", "sha256"} <= set(file) for file in found["files"].values()):
            raise ValueError("incomplete entry")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFile(f"{folder / MANIFEST} cannot be read: {error}.") from error
    return found


def filled(key: str, make: Maker) -> Path:
    """The folder of the entry `key`, made by `make` if it is not there or is damaged.

    Safe when several processes ask at once: one makes it, the others wait and use it. When `make` fails, nothing stays.
    """
    from filelock import FileLock, Timeout

    folder = entry_path(key)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{key}.lock"))
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:  # somebody else is at it; the report lets a user stop waiting
            progress.report(f"waiting for another process that fetches {key}", 0, None)
    try:
        return _sound(key) or _make(folder, make)
    finally:
        lock.release()


def _sound(key: str) -> Path | None:
    try:
        return stored(key)
    except BadFile:
        return None  # it is replaced below


def _make(folder: Path, make: Maker) -> Path:
    prefix = f".partial-{folder.name}-"
    for left_behind in folder.parent.glob(f"{prefix}*"):  # we hold the lock: nobody is using these
        shutil.rmtree(left_behind, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        scratch, out = partial / "scratch", partial / "out"
        scratch.mkdir()
        out.mkdir()
        facts = make(scratch, out)
        files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in sorted(out.iterdir())}
        text = json.dumps({"format": 1, **facts, "files": files}, indent=1)
        (out / MANIFEST).write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(partial / "damaged")
        out.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
