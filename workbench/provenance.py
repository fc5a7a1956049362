"""What every result is stamped with: enough to know where its numbers came from and to make them again."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel


def stamp(analysis: str, model: "LensModel", params: Mapping[str, Any]) -> dict[str, Any]:
    """The `meta` of a result: plain data only."""
    info = {str(key).replace("_", " "): plain(value) for key, value in model.info.items()}
    return {
        "analysis": analysis,
        "params": {name: plain(value) for name, value in params.items()},
        "model": model.name,
        "model id": info.get("source") or model.name,
        "revision": info.get("revision"),
        "family": model.family,
        "dtype": info.get("dtype"),
        "attention implementation": info.get("attention implementation"),
        "numeric regime": regime(model),
        "versions": dict(versions()),
        "seed": params.get("seed"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def regime(model: "LensModel") -> str:
    """How numbers are computed here: "float32 on cpu, matmul precision highest"."""
    import torch

    weight = next(iter(model.module.parameters()), torch.empty(0))
    dtype = str(weight.dtype).removeprefix("torch.")
    return f"{dtype} on {weight.device.type}, matmul precision {torch.get_float32_matmul_precision()}"


@lru_cache(maxsize=1)
def versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of what computes the numbers."""
    found = [("workbench", own_version())]
    for package in ("torch", "transformers"):
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not installed"))
    return (*found, ("python", ".".join(map(str, sys.version_info[:3]))))


def own_version() -> str:
    """The version of this package."""
    try:
        return version("transformer-workbench")
    except PackageNotFoundError:
        return "not installed"


def plain(value: Any) -> Any:
    """`value` as data that can be written down; pictures, waveforms and large tensors by their digest."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "made_by"):  # a corpus
        about = {"corpus": value.name, "reads": value.reads, "inputs": len(value), "sha256": value.digest}
        return about | ({"made by": value.made_by} if value.made_by else {})
    if hasattr(value, "column_names"):  # a data set in memory
        about = {"in memory": type(value).__name__, "columns": tuple(map(str, value.column_names)), "rows": len(value)}
        return about | {"fingerprint": str(getattr(value, "_fingerprint", ""))}
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu()
        if not value.is_floating_point() and value.numel() <= 4096:
            return plain(value.tolist())
        return _digest("tensor", tuple(value.shape), value.numpy().tobytes())
    if hasattr(value, "tobytes"):  # a numpy array or a PIL image
        return _digest(type(value).__name__, tuple(getattr(value, "shape", None) or value.size), value.tobytes())
    if hasattr(value, "__fspath__"):
        return str(value)
    if isinstance(value, Sequence | set | frozenset):
        return tuple(plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value))
    return repr(value)


def _digest(what: str, shape: tuple[int, ...], data: bytes) -> dict[str, Any]:
    return {"in memory": what, "shape": shape, "sha256": hashlib.sha256(data).hexdigest()}
