"""The bytes of a saved result: a safetensors file whose header carries the plain values and a digest of it all.

Any safetensors reader opens the tensors; only this module knows the header's meaning.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from workbench.errors import BadFile, BadInput

FORMAT = "workbench-result-1"
MARK = "$"
"""Keys that begin so stand for something JSON has no word for, such as {"$float": "nan"}."""


def to_bytes(kind: str, values: Mapping[str, Any]) -> bytes:
    """One file's content for a result of `kind` with these fields."""
    from safetensors.torch import save
    from torch import Tensor

    tensors = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            if value.layout.__str__() != "torch.strided":
                raise BadInput(f"The field {name!r} is a {value.layout} tensor; make it dense before saving.")
            tensors[name] = value.detach().cpu().contiguous().clone()
    plain = {name: encode(value, name) for name, value in values.items() if name not in tensors}
    metadata = {"format": FORMAT, "kind": kind, "values": json.dumps(plain, allow_nan=False)}
    header, body = _split(save(tensors, metadata=metadata))
    header["__metadata__"]["sha256"] = _digest(header, body)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants the tensors to begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + body


def from_bytes(data: bytes, *, name: str) -> tuple[str, dict[str, Any]]:
    """(kind, fields) out of a file's content; `name` is what error messages call it."""
    from safetensors.torch import load

    try:
        header, body = _split(data)
        metadata = header["__metadata__"]
        if metadata["format"] != FORMAT:
            raise ValueError(metadata["format"])
        digest, kind, values = metadata["sha256"], metadata["kind"], metadata["values"]
        intact = digest == _digest(header, body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadFile(f"{name} is not a workbench result, or is damaged at its beginning.") from None
    if not intact:
        raise BadFile(f"{name} is damaged: its content does not match its own checksum. Make or copy it again.")
    try:
        tensors = load(data)
        plain = json.loads(values)
        return str(kind), {**tensors, **{key: decode(value) for key, value in plain.items()}}
    except Exception as error:
        raise BadFile(f"{name} cannot be read as a result: {error}") from error


def encode(value: Any, where: str) -> Any:
    """`value` in terms of strict JSON; NaN and infinities become {"$float": ...}."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {f"{MARK}float": repr(value)}
    if isinstance(value, tuple | list):
        return [encode(item, where) for item in value]
    if isinstance(value, Mapping):
        if bad := [key for key in value if not isinstance(key, str) or key.startswith(MARK)]:
            raise BadInput(
                f"The field {where!r} has the key {bad[0]!r}; keys must be text not beginning with {MARK!r}."
            )
        return {key: encode(item, where) for key, item in value.items()}
    raise BadInput(
        f"The field {where!r} holds a {type(value).__name__}, which cannot be saved; use a tensor or plain data."
    )


def decode(value: Any) -> Any:
    """The inverse of `encode`; lists come back as tuples."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if isinstance(value, dict):
        if set(value) == {f"{MARK}float"}:
            return float(value[f"{MARK}float"])
        return {key: decode(item) for key, item in value.items()}
    return value


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise ValueError("truncated")
    header = json.loads(data[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("not a header")
    return header, data[8 + size :]


def _digest(header: dict[str, Any], body: bytes) -> str:
    metadata = {key: value for key, value in header["__metadata__"].items() if key != "sha256"}
    canonical = json.dumps({**header, "__metadata__": metadata}, sort_keys=True).encode()
    return hashlib.sha256(canonical + b"\0" + body).hexdigest()
