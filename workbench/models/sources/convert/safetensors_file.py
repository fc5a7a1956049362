"""Writes a safetensors file tensor by tensor, so that a conversion never holds the whole model in memory."""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

NAMES = {np.dtype("float32"): "F32", np.dtype("float16"): "F16", np.dtype("int64"): "I64"}


@dataclass(frozen=True)
class Promise:
    """A tensor that can be made when its turn comes: its shape, its dtype and the function that makes it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]


def write(path: Path, tensors: Mapping[str, Promise]) -> None:
    """Write `tensors` to `path` in the safetensors format (8-byte header length, JSON header, raw little-endian data).

    Raises ValueError when a tensor does not come out in the shape and dtype it promised.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, promise in tensors.items():
        start, end = end, end + prod(promise.shape) * promise.dtype.itemsize
        header[name] = {
            "dtype": NAMES[promise.dtype],
            "shape": list(promise.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of eight bytes
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, promise in tensors.items():
            array = np.asarray(promise.make(), order="C")
            if array.shape != promise.shape or array.dtype != promise.dtype:
                raise ValueError(f"{name} is {array.dtype}{array.shape}, not {promise.dtype}{promise.shape}")
            file.write(array.tobytes() if array.ndim == 0 else array.data)
