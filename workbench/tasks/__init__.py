"""Tasks: pairs of prompts, clean and corrupted, with the answers that tell whether a model does something."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.tasks.builtin import BUILTIN as BUILTIN, names as names
    from workbench.tasks.doing import doable as doable
    from workbench.tasks.form import Doing as Doing, Example as Example, Pair as Pair, Task as Task
    from workbench.tasks.sources import draw as draw, task as task

__all__ = ["BUILTIN", "Doing", "Example", "Pair", "Task", "doable", "draw", "names", "task"]

_HOME = {
    "builtin": ("BUILTIN", "names"),
    "doing": ("doable",),
    "form": ("Doing", "Example", "Pair", "Task"),
    "sources": ("draw", "task"),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
