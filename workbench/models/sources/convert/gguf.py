"""Reads GGUF files (llama.cpp's format): metadata, and tensors dequantised from F32, F16, Q8_0 and Q4_1.

Format: the GGUF specification of the ggml project. A file that is cut short or of another kind gives `BadFile`.
"""

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import BadFile

# metadata value types 0 to 12 that have a fixed size; 8 is a string, 9 an array
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GGUF:
    """One open file: its metadata by key, and where each tensor lies."""

    metadata: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    """Shapes as PyTorch has them: rows first."""
    data: np.ndarray
    """The whole file as bytes, memory-mapped."""
    places: dict[str, tuple[int, int]]
    """Tensor name to (type number, first byte)."""

    def tensor(self, name: str) -> np.ndarray:
        """The tensor `name` as float32."""
        kind, start = self.places[name]
        shape = self.shapes[name]
        per_block, size, decode = _TYPES[kind]
        end = start + prod(shape) // per_block * size
        if end > len(self.data):
            raise BadFile(f"The GGUF file ends inside the tensor {name}: it is cut short.")
        return decode(self.data[start:end].reshape(-1, size)).reshape(shape)


def read(path: Path) -> GGUF:
    """Open a GGUF file of version 2 or 3 (little-endian); only the metadata is read now."""
    try:
        with path.open("rb") as file:
            return _parse(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except BadFile:
        raise
    except (struct.error, UnicodeDecodeError, KeyError, ValueError, MemoryError, OverflowError) as error:
        raise BadFile(f"{path.name} is not a readable GGUF file: {error}.") from error


def _parse(data: memoryview) -> GGUF:
    at = _Cursor(data)
    magic, version, n_tensors, n_values = at.take("4sIQQ")
    if magic != b"GGUF" or version not in (2, 3):
        raise BadFile(f"Not a GGUF file of version 2 or 3: it begins with {magic!r}, version {version}.")
    metadata = {}
    for _ in range(n_values):
        key = at.string()
        metadata[key] = at.value(at.take("I")[0])
    shapes, places = {}, {}
    for _ in range(n_tensors):
        name = at.string()
        (n_dims,) = at.take("I")
        *dims, kind, offset = at.take(f"{n_dims}QIQ")
        if kind not in _TYPES:
            raise BadFile(f"The tensor {name} has GGUF type {kind}; only F32, F16, Q4_1 and Q8_0 can be read.")
        shapes[name], places[name] = tuple(reversed(dims)), (kind, offset)
    alignment = metadata.get("general.alignment", 32)
    base = -(-at.position // alignment) * alignment
    bytes_ = np.frombuffer(data, np.uint8)
    return GGUF(metadata, shapes, bytes_, {name: (kind, base + offset) for name, (kind, offset) in places.items()})


class _Cursor:
    """Reads values one after the other."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.position = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self.data, self.position)
        self.position += struct.calcsize(f"<{layout}")
        return values

    def string(self) -> str:
        (length,) = self.take("Q")
        return self.take(f"{length}s")[0].decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, length = self.take("IQ")
            if inner in (_STRING, _ARRAY):
                return [self.value(inner) for _ in range(length)]
            return list(self.take(f"{length}{_SCALARS[inner]}"))
        return self.take(_SCALARS[kind])[0]


def _halves(block: np.ndarray, start: int) -> np.ndarray:
    return np.ascontiguousarray(block[:, start : start + 2]).view("<f2").astype(np.float32)  # (block, 1)


def _f32(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(block).view("<f4").copy()


def _f16(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(block).view("<f2").astype(np.float32)


def _q8_0(block: np.ndarray) -> np.ndarray:
    """32 signed bytes times one half-precision scale."""
    return block[:, 2:].view(np.int8) * _halves(block, 0)


def _q4_1(block: np.ndarray) -> np.ndarray:
    """32 four-bit numbers times a half-precision scale, plus a half-precision minimum; low nibbles come first."""
    nibbles = np.concatenate([block[:, 4:] & 15, block[:, 4:] >> 4], axis=1)  # (block, 32)
    return nibbles.astype(np.float32) * _halves(block, 0) + _halves(block, 2)


_TYPES: dict[int, tuple[int, int, Callable[[np.ndarray], np.ndarray]]] = {
    0: (1, 4, _f32),  # F32
    1: (1, 2, _f16),  # F16
    3: (32, 20, _q4_1),  # Q4_1
    8: (32, 34, _q8_0),  # Q8_0
}
"""GGUF type number to (weights in a block, bytes in a block, how to decode blocks)."""
TYPE_NAMES = {0: "F32", 1: "F16", 3: "Q4_1", 8: "Q8_0"}
