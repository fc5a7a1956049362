"""The table of all methods of attribution, by the names that users type."""

from functools import cache
from importlib import import_module

from workbench.analyses.attribution.method import Method
from workbench.errors import UnknownName

MODULES = (
    "raw_attention",
    "rollout",
    "flow",
    "pagerank",
    "relevance",
    "norms",
    "alti",
    "decompx",
    "gradients",
    "integrated_gradients",
    "value_zeroing",
    "knockout",
    "atman",
    "occlusion",
)
"""Modules of this package that hold methods, in the order in which methods are offered."""


@cache
def methods() -> dict[str, Method]:
    """Every method by its name."""
    package = __name__.rpartition(".")[0]
    return {method.name: method for name in MODULES for method in import_module(f"{package}.{name}").METHODS}


def method(name: str) -> Method:
    """The method called `name`."""
    if name not in methods():
        raise UnknownName("method", name, methods())
    return methods()[name]
