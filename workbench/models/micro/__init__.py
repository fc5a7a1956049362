"""The model that needs no download: two attention-only layers over characters, trained to copy what repeats."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.models.micro.attention_only import AttentionOnly, AttentionOnlyConfig
    from workbench.models.micro.characters import CharacterTokenizer
    from workbench.models.micro.checkpoint import load_micro, save_micro

__all__ = ["AttentionOnly", "AttentionOnlyConfig", "CharacterTokenizer", "load_micro", "save_micro"]

_HOMES = {
    "AttentionOnly": "attention_only",
    "AttentionOnlyConfig": "attention_only",
    "CharacterTokenizer": "characters",
    "load_micro": "checkpoint",
    "save_micro": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
