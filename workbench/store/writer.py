"""Writes a store batch by batch, in the background, so that a kill at any moment loses only the batches in flight."""

import errno
import json
import queue
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from workbench import progress
from workbench.errors import BadFile, BadInput
from workbench.store import manifest as manifests
from workbench.store.manifest import Manifest, Shard
from workbench.store.reader import damage
from workbench.store.rows import Rows
from workbench.store.shards import PART, Blob, write_file, write_shard

LOCK = ".lock"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, eq=False)
class Batch:
    """What one batch gives the store; entries stand in the order of `inputs`."""

    number: int
    inputs: tuple[int, ...]
    lengths: Mapping[str, tuple[int, ...]]
    values: Mapping[str, Sequence[Tensor]]
    rows: Mapping[str, Sequence[Rows]]
    """Side -> the row table of each input."""


class StoreWriter:
    """A store open for writing: `missing` says which batches it lacks, `put` hands one over.

    Entering takes the folder's lock, clears what a kill left, and checks every shard that is already there. Leaving
    waits until what was handed over is on disk.
    """

    def __init__(self, folder: Path, head: Manifest) -> None:
        self.folder, self.manifest = folder, head
        self._queue: queue.Queue[Batch | None] = queue.Queue(maxsize=1)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="workbench-store", daemon=True)

    def __enter__(self) -> "StoreWriter":
        with ExitStack() as undo:
            try:
                self._refuse_foreign()
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = FileLock(self.folder / LOCK)
                undo.enter_context(self._lock.acquire(timeout=0))
                self._resume()
            except Timeout:
                raise BadInput(
                    f"{self.folder} is being written by another capture; wait for it, or give another folder."
                ) from None
            except OSError as error:
                raise self._explained(error) from error
            self._thread.start()
            self._undo = undo.pop_all()
        return self

    def _refuse_foreign(self) -> None:
        if self.folder.is_file():
            raise BadInput(f"{self.folder} is a file; a store is a folder.")
        if self.folder.is_dir() and not (self.folder / manifests.NAME).exists():
            others = [p.name for p in self.folder.iterdir() if not (p.name == LOCK or p.name.endswith(PART))]
            if others:
                raise BadInput(f"{self.folder} holds other files ({others[0]} ...) and no store; give a new folder.")

    def _resume(self) -> None:
        if not (self.folder / manifests.NAME).exists():
            return self._save(self.manifest)
        found = manifests.read_manifest(self.folder)
        manifests.check_same(self.folder, found, self.manifest)
        checked = progress.track(found.shards, label="checking what is there")
        self.manifest = replace(found, shards=tuple(s for s in checked if damage(self.folder, s) is None))
        kept = {shard.file for shard in self.manifest.shards}
        for path in self.folder.iterdir():
            if path.name.endswith(PART) or (path.suffix == ".safetensors" and path.name not in kept):
                path.unlink()
        if self.manifest.shards != found.shards:
            self._save(self.manifest)
        return None

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the batches that are not on disk."""
        done = {shard.batch for shard in self.manifest.shards}
        return tuple(number for number in range(self.manifest.batches) if number not in done)

    def put(self, batch: Batch) -> None:
        """Hand over a batch; waits while the one before is still in line. Raises what an earlier batch failed with."""
        self._raise_failure()
        self._queue.put(batch)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._queue.put(None)
        self._thread.join()
        self._undo.close()
        if kind is None:
            self._raise_failure()

    def _raise_failure(self) -> None:
        if isinstance(self._failure, OSError):
            raise self._explained(self._failure) from self._failure
        if self._failure is not None:
            raise self._failure

    def _explained(self, error: OSError) -> BadFile:
        safe = f"{len(self.manifest.shards)} of {self.manifest.batches} batches are safe in it"
        if error.errno in FULL:
            return BadFile(
                f"The disk is full: {self.folder} takes no more ({error.strerror}); {safe}. Free some space and run the"
                " same capture again to go on."
            )
        return BadFile(f"{self.folder} cannot be written ({error.strerror or error}); {safe}.")

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            if self._failure is None:
                try:
                    self._write(batch)
                except BaseException as error:
                    self._failure = error
            del batch

    def _write(self, batch: Batch) -> None:
        blobs: dict[str, Blob] = {}
        for column in self.manifest.sites:
            entries, dtype = batch.values[column.name], getattr(torch, column.dtype)
            entries = [cast(entry, dtype, column.name) for entry in entries]
            by_row = column.per == "row"
            shape = (sum(map(len, entries)), *column.shape) if by_row else (sum(e.numel() for e in entries),)
            blobs[column.name] = Blob(entries, shape, dtype, by_row)
        for side, parts in batch.rows.items():
            rows = Rows.joined(parts)
            text = torch.frombuffer(bytearray(json.dumps(rows.label).encode()), dtype=torch.uint8)
            blobs[f"rows/{side}"] = Blob([rows.table], (len(rows), 3), torch.int64, True)
            blobs[f"labels/{side}"] = Blob([text], (len(text),), torch.uint8, False)
        size, header, digest = write_shard(self.folder / manifests.shard_name(batch.number), blobs)
        shard = Shard(
            batch=batch.number, inputs=batch.inputs, lengths=batch.lengths, bytes=size, header=header, sha256=digest
        )
        shards = sorted((*self.manifest.shards, shard), key=lambda one: one.batch)
        self._save(replace(self.manifest, shards=tuple(shards)))

    def _save(self, manifest: Manifest) -> None:
        write_file(self.folder / manifests.NAME, [manifest.to_json().encode()])
        self.manifest = manifest


def cast(value: Tensor, dtype: torch.dtype, site: str) -> Tensor:
    """`value` on the CPU as `dtype`; refuses to turn a large number into infinity."""
    new = value.detach().to("cpu", dtype)
    if dtype.itemsize < value.dtype.itemsize and not torch.equal(new.isfinite(), value.isfinite().cpu()):
        raise BadInput(
            f"Some values of {site!r} are too large for {str(dtype)[6:]}; capture it as bfloat16 or float32."
        )
    return new
