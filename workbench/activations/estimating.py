"""How much a capture will take, before it runs, and how much there is."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.activations.batches import Inputs, plan
from workbench.activations.choosing import choose, matching
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a capture will take. `bytes` is exact for the values; the row table adds 24 bytes a row and its labels."""

    bytes: int
    inputs: int
    rows: Mapping[str, int]
    """Valid positions of all inputs, by side."""
    by_site: Mapping[str, int]

    def __str__(self) -> str:
        return f"{readable(self.bytes)} for {len(self.by_site)} sites of {self.inputs} inputs"


def estimate(
    model: LensModel,
    inputs: Sequence[Any],
    sites: str | Iterable[str],
    *,
    dtype: str | None = None,
    gradients: bool = False,
) -> Estimate:
    """Bytes that `capture` with these arguments keeps. Encodes every input and runs the shortest one."""
    wanted = Inputs(model=model, raw=inputs)
    choice = choose(wanted, plan(wanted, 1, False), matching(model, sites), dtype, gradients)
    by_site = choice.bytes_of(range(len(wanted)))
    rows = {side: sum(counts) for side, counts in choice.lengths.items()}
    return Estimate(bytes=sum(by_site.values()), inputs=len(wanted), rows=rows, by_site=by_site)


def check_memory(needed: int) -> None:
    """Refuse what this machine's memory cannot hold."""
    free = available_memory()
    if free is not None and needed > free:
        raise BadInput(
            f"This capture needs {readable(needed)} and {readable(free)} of memory are free. Give store='FOLDER' to"
            " write it to disk as it runs, or fewer sites or inputs, or dtype='bfloat16'."
        )


def check_disk(folder: Path, needed: int) -> None:
    """Refuse what the disk below `folder` has no room for."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise BadInput(
            f"This capture still needs {readable(needed)} and the disk of {place} has {readable(free)} free. Give"
            " another folder, fewer sites or inputs, or dtype='bfloat16'."
        )


def available_memory() -> int | None:
    """Bytes that could be taken without swapping; None where the system does not say."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    if not found and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(min(found), 0) if found else None


def readable(count: float) -> str:
    """Bytes for people: "1.2 GB"."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = min(len(f"{count:.0f}") - 1, 14) // 3
    return f"{count / 1000**power:.{1 if power else 0}f} {units[power]}"
