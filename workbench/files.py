"""Files are written whole or not at all: a temporary file in the same folder, then a rename."""

import contextlib
import os
import tempfile
from os import PathLike
from pathlib import Path

from workbench.errors import BadFile


def write_atomically(path: str | PathLike[str], data: bytes | str) -> Path:
    """Write `data` (text as UTF-8) to `path`, replacing what is there only when everything is on disk.

    Raises `BadFile` when the folder is missing or the disk refuses; the old file, if any, is then untouched.
    """
    path = check_writable(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise BadFile(f"Could not write {path}: {error.strerror or error}. Nothing was changed there.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
    return path


def check_writable(path: str | PathLike[str]) -> Path:
    """`path` as a Path, after checking that a file can be put there; cheap, so do it before long work."""
    path = Path(path)
    if path.is_dir():
        raise BadFile(f"{path} is a folder; give the name of a file in it.")
    if not path.parent.is_dir():
        raise BadFile(f"The folder {path.parent} does not exist; make it first, or write somewhere else.")
    if not os.access(path.parent, os.W_OK):
        raise BadFile(f"The folder {path.parent} may not be written to; choose another one.")
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
