"""The manifest of a store: what was captured, from which model and inputs, and which shards hold it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from workbench.errors import BadFile, BadInput
from workbench.store.columns import Column

NAME = "manifest.json"
FORMAT = "workbench-activations-1"
COMPARED = ("model", "sites", "inputs", "options")
"""What must agree before a capture goes on where another one stopped."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One batch on disk."""

    batch: int
    inputs: tuple[int, ...]
    lengths: Mapping[str, tuple[int, ...]]
    """Valid positions of each input, by side."""
    bytes: int
    header: str
    """sha256 of the file's header: enough to trust every offset in it."""
    sha256: str
    """sha256 of the whole file."""

    @property
    def file(self) -> str:
        """Name of its file."""
        return shard_name(self.batch)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a store holds."""

    model: Mapping[str, Any]
    """name, revision, and the fingerprint of the weights."""
    sites: tuple[Column, ...]
    inputs: Mapping[str, Any]
    """How many there are, and the fingerprint of their encodings."""
    options: Mapping[str, Any]
    batches: int
    """Shards the store has when the capture is complete."""
    versions: Mapping[str, str]
    shards: tuple[Shard, ...] = ()

    def column(self, site: str) -> Column | None:
        """How a site is laid out; None where it is not held."""
        return next((column for column in self.sites if column.name == site), None)

    def to_json(self) -> str:
        """One line of JSON, which carries a checksum of the rest of itself."""
        body = json.dumps({"format": FORMAT, **asdict(self)}, separators=(",", ":"), allow_nan=False)
        return f'{{"sha256":"{hashlib.sha256(body.encode()).hexdigest()}",{body[1:]}\n'


def shard_name(batch: int) -> str:
    """Name of the file that holds a batch."""
    return f"{batch:06d}.safetensors"


def read_manifest(folder: Path) -> Manifest:
    """The manifest in `folder`; BadFile when there is none or it is damaged."""
    path = folder / NAME
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadFile(
            f"{folder} is not an activation store: its {NAME} cannot be read ({error.strerror or error}). "
            f"workbench.capture(..., store={str(folder)!r}) makes one."
        ) from None
    try:
        raw = json.loads(text)
        said, known = raw.pop("sha256"), raw["format"]
        body = json.dumps(raw, separators=(",", ":"), allow_nan=False)
        if known != FORMAT or said != hashlib.sha256(body.encode()).hexdigest():
            raise ValueError
        del raw["format"]
        return replace(
            Manifest(**raw), sites=tuple(map(_column, raw["sites"])), shards=tuple(map(_shard, raw["shards"]))
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadFile(
            f"{path} is damaged, or was written by another version of the workbench. The shards beside it cannot be"
            " told apart without it: delete the folder, or move it away, and capture again."
        ) from None


def _column(raw: Mapping[str, Any]) -> Column:
    column = Column(**raw)
    return replace(column, axes=tuple(column.axes), shape=tuple(column.shape), sides=tuple(column.sides))


def _shard(raw: Mapping[str, Any]) -> Shard:
    lengths = {side: tuple(counts) for side, counts in raw["lengths"].items()}
    return Shard(**{**raw, "inputs": tuple(raw["inputs"]), "lengths": lengths})


def check_same(folder: Path, found: Manifest, wanted: Manifest) -> None:
    """Raise BadInput, saying what differs, unless a capture of `wanted` may go on in `folder`."""
    before, after = (json.loads(json.dumps({k: asdict(m)[k] for k in COMPARED})) for m in (found, wanted))
    before["sites"], after["sites"] = ({c["name"]: c for c in m["sites"]} for m in (before, after))
    differ = [
        f"{part} ({key}: {_brief(before[part].get(key))} there, {_brief(after[part].get(key))} now)"
        for part in COMPARED
        for key in dict.fromkeys([*before[part], *after[part]])
        if before[part].get(key) != after[part].get(key)
    ]
    if differ:
        more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise BadInput(
            f"{folder} holds another capture; it differs in {'; '.join(differ[:3])}{more}. Use a new folder, or capture"
            " with the same model, inputs, sites and options to go on with this one."
        )


def _brief(value: Any) -> str:
    if value is None:
        return "absent"
    text = f"{value['dtype']} {value['shape']}" if isinstance(value, dict) else repr(value)
    return text if len(text) < 40 else f"{text[:16]}…"
