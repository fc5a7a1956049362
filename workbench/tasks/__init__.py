"""Tasks: pairs of prompts, clean and corrupted, with the answers that tell whether a model does something."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.tasks.builtin import BUILTIN as BUILTIN, names as names
    from workbench.tasks.doing import doable as doable
    from workbench.tasks.form import Doing as Doing, Example as Example, Pair as Pair, Task as Task
    from workbench.tasks.sources import draw as draw, task as task

__all__ = ["BUILTIN", "Doing", "Example", "Pair", "Task", "doable", "draw", "names", "task"]

_HOMES = {
    "builtin": ("BUILTIN", "names"),
    "doing": ("doable",),
    "form": ("Doing", "Example", "Pair", "Task"),
    "sources": ("draw", "task"),
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
