"""One shard: a safetensors file, written whole and checked as it is read.

Beside every tensor `x` stands `check/x`, one 64-bit sum for each of its entries, so that any slice can be checked by
reading no more than the slice and its sums. Written by hand rather than with safetensors' own writer because that
copies every tensor twice; any safetensors reader opens the result.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.errors import BadFile
from workbench.store.manifest import Shard

CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""torch's types in safetensors' words."""
TYPES = {code: dtype for dtype, code in CODES.items()}
PART = ".part"
"""Ending of a file that is still being written."""


@dataclass(frozen=True)
class Blob:
    """A tensor to be written, in entries: each has its own checksum. `entries` follow one another along axis 0."""

    entries: Sequence[Tensor]
    shape: tuple[int, ...]
    dtype: torch.dtype
    by_row: bool
    """Whether each row, not each entry, has its checksum."""


def write_file(path: Path, pieces: Sequence[Any]) -> str:
    """Write `pieces` one after the other to `path`, which appears only when all is on disk; gives its sha256."""
    part, digest = path.with_name(f".{path.name}{PART}"), hashlib.sha256()
    try:
        with part.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_shard(path: Path, blobs: Mapping[str, Blob]) -> tuple[int, str, str]:
    """(bytes, sha256 of the header, sha256 of all) of the shard written."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    pieces: list[Any] = []
    offset = 0
    checks: dict[str, list[np.ndarray]] = {}

    def place(name: str, code: str, shape: Sequence[int], parts: list[np.ndarray]) -> None:
        nonlocal offset
        size = sum(part.nbytes for part in parts)
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
        pieces.extend(parts)

    for name, blob in sorted(blobs.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        parts = [_bytes(entry) for entry in blob.entries]
        checks[name] = [sums(p, len(e) if blob.by_row else 1, name) for p, e in zip(parts, blob.entries, strict=True)]
        place(name, CODES[blob.dtype], blob.shape, parts)
    data, pieces, offset = pieces, [], 0
    moved = {name: header.pop(name) for name in blobs}
    for name, made in checks.items():  # the sums go first: eight-byte numbers, so that every tensor stays aligned
        place(f"check/{name}", "I64", [sum(map(len, made))], [one.view(np.uint8) for one in made])
    for name, facts in moved.items():
        header[name] = facts | {"data_offsets": [at + offset for at in facts["data_offsets"]]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    digest = write_file(path, [head, *pieces, *data])
    return path.stat().st_size, hashlib.sha256(head).hexdigest(), digest


def _bytes(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()


def sums(data: np.ndarray, count: int, name: str) -> np.ndarray:
    """`count` sums (int64) over equal parts of `data` (bytes). Weights are odd: changing one word changes its sum."""
    if not count or not len(data):
        return np.full(count, zlib.crc32(name.encode()), np.int64)
    words = data.reshape(count, -1)
    if short := -words.shape[1] % 8:
        words = np.pad(words, ((0, 0), (0, short)))
    words = words.view(np.uint64)
    weights = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
    return (words @ weights + np.uint64(zlib.crc32(name.encode()))).view(np.int64)


class ShardReader:
    """Reads slices out of one shard; trusts nothing that its checksums do not vouch for."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self.path = folder / shard.file
        head = self._read(0, 8, shard.bytes)
        size = int.from_bytes(head, "little")
        if size > shard.bytes:
            raise self.bad("its header is damaged")
        head = bytes(head) + bytes(self._read(8, size))
        if hashlib.sha256(head).hexdigest() != shard.header:
            raise self.bad("its header is damaged")
        self.start, self.header = len(head), json.loads(head[8:])

    def bad(self, why: str) -> BadFile:
        """The error for something wrong in this file, with the next step."""
        return BadFile(
            f"{self.path}: {why}. verify() on the store lists every bad shard; running the same capture on it again"
            " makes those shards anew and keeps the others."
        )

    def _read(self, offset: int, size: int, expected: int | None = None) -> np.ndarray:
        data = np.empty(size, np.uint8)
        try:
            with self.path.open("rb", buffering=0) as file:
                if expected not in (None, actual := os.fstat(file.fileno()).st_size):
                    raise self.bad(f"it has {actual} bytes where {expected} were written")
                file.seek(offset)
                done = 0
                while done < size and (got := file.readinto(data.data[done:])):
                    done += got
        except OSError as error:
            raise self.bad(f"it cannot be read ({error.strerror or error})") from None
        if done < size:
            raise self.bad("it is cut short")
        return data

    def rows(self, name: str, first: int, last: int) -> Tensor:
        """Entries `first:last` along axis 0, checked row by row."""
        facts = self.header[name]
        (begin, end), count = facts["data_offsets"], facts["shape"][0]
        width = (end - begin) // count if count else 0
        data = self._read(self.start + begin + first * width, (last - first) * width)
        self._check(name, data, first, last)
        return torch.from_numpy(data).view(TYPES[facts["dtype"]]).reshape(last - first, *facts["shape"][1:])

    def entry(self, name: str, number: int, offset: int, shape: Sequence[int], size: int) -> Tensor:
        """The ragged entry `number`, which begins `offset` bytes into the tensor and has `size` bytes."""
        facts = self.header[name]
        data = self._read(self.start + facts["data_offsets"][0] + offset, size)
        self._check(name, data, number, number + 1)
        return torch.from_numpy(data).view(TYPES[facts["dtype"]]).reshape(tuple(shape))

    def _check(self, name: str, data: np.ndarray, first: int, last: int) -> None:
        begin = self.header[f"check/{name}"]["data_offsets"][0] + 8 * first
        said = self._read(self.start + begin, 8 * (last - first)).view(np.int64)
        if not np.array_equal(said, sums(data, last - first, name)):
            raise self.bad(f"the values of {name!r} do not match their checksum")
