"""Variables: ordered lists of things a model has tokens for, such as digits, days and months, and their states."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.variables.builtin import BUILTIN as BUILTIN, names as names
    from workbench.variables.form import Variable as Variable
    from workbench.variables.rows import embedding_rows as embedding_rows, unembedding_rows as unembedding_rows
    from workbench.variables.sources import variable as variable
    from workbench.variables.texts import Placed as Placed, placed as placed
    from workbench.variables.value_states import states as states

__all__ = [
    "BUILTIN",
    "Placed",
    "Variable",
    "embedding_rows",
    "names",
    "placed",
    "states",
    "unembedding_rows",
    "variable",
]

_HOME = {
    "builtin": ("BUILTIN", "names"),
    "form": ("Variable",),
    "rows": ("embedding_rows", "unembedding_rows"),
    "sources": ("variable",),
    "texts": ("Placed", "placed"),
    "value_states": ("states",),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
