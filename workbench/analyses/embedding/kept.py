"""Captures that the workbench keeps by itself in the user's cache folder: found by what is in them, the oldest go."""

import hashlib
import os
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.activations.fingerprint import fingerprint
from workbench.corpora import Corpus
from workbench.models.lens_model import LensModel
from workbench.models.sources.cache import cache_dir
from workbench.store.writer import LOCK

MOST_BYTES = 8e9
"""All kept captures together; the one in use stays whatever its size."""


def kept_folder(model: LensModel, texts: Corpus, attention: str) -> Path:
    """Where the capture of one attention of a model on a corpus is kept; makes room for it."""
    told = "\n".join((model.name, fingerprint(model.module), str(model.dtype), attention, texts.digest))
    folder = cache_dir() / "activations" / hashlib.sha256(told.encode()).hexdigest()[:20]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    make_room(folder)
    return folder


def make_room(wanted: Path) -> None:
    """Remove the captures that were not used for longest, until the rest is small enough; never one that is written."""
    others = [path for path in wanted.parent.iterdir() if path.is_dir() and path != wanted]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    total = _bytes(wanted)
    for folder in others:
        total += _bytes(folder)
        if total > MOST_BYTES:
            try:
                with FileLock(folder / LOCK, timeout=0):
                    for path in folder.iterdir():
                        if path.name != LOCK:
                            path.unlink()
            except Timeout:
                continue
            shutil.rmtree(folder, ignore_errors=True)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
