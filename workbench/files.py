"""Files are written whole or not at all: a temporary file in the same folder, then a rename."""

import contextlib
import os
import tempfile
from os import PathLike
from pathlib import Path

from workbench.errors import BadFile, BadInput


def write_atomically(path: str | PathLike[str], data: bytes | str) -> Path:
    """Write `data` (text as UTF-8) to `path`, replacing what is there only when everything is on disk.

    A link stays, and the file it names is replaced; a pipe or terminal is written to as it is. Raises `BadFile` when
    the folder is missing or the disk refuses; the old file, if any, is then untouched. Raises `BadInput` for a folder.
    """
    path = check_writable(path)
    data = data.encode() if isinstance(data, str) else data
    temporary = None
    try:
        if _takes_a_stream(path):
            path.write_bytes(data)
            return path
        target = path.resolve()
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        Path(temporary).replace(target)
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
        raise BadInput(f"{path} is a folder; give the name of a file in it.")
    if _takes_a_stream(path):
        return path
    try:
        target = path.resolve()
        there = target.exists()
    except (OSError, RuntimeError) as error:
        raise BadFile(f"{path} cannot be written: its links lead nowhere ({error}).") from error
    if there and not target.is_file():
        raise BadInput(f"{path} is not a file and cannot be replaced by one; choose another name.")
    folder = target.parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise BadFile(f"The folder {folder} does not exist; make it first, or write somewhere else.")
    if not os.access(folder, os.W_OK):
        raise BadFile(f"The folder {folder} may not be written to; choose another one.")
    return path


def _takes_a_stream(path: Path) -> bool:
    """Whether it is a pipe or a character device, such as a terminal: written to, never replaced."""
    return path.is_fifo() or path.is_char_device()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
