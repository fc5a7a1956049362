"""Tasks: pairs of prompts, clean and corrupted, with the answers that tell whether a model does something."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.tasks.form import Doing as Doing, Example as Example, Pair as Pair, Task as Task

__all__ = ["Doing", "Example", "Pair", "Task"]

_HOME = {"form": ("Doing", "Example", "Pair", "Task")}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
