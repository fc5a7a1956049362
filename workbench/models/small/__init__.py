"""A small transformer for studies: made from its sizes, saved in a folder, opened by `workbench.load`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.models.small.config import SmallConfig
    from workbench.models.small.transformer import SmallTransformer
    from workbench.models.small.words import save_small, word_tokenizer

__all__ = ["SmallConfig", "SmallTransformer", "save_small", "word_tokenizer"]

_HOMES = {
    "SmallConfig": "config",
    "SmallTransformer": "transformer",
    "save_small": "words",
    "word_tokenizer": "words",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
