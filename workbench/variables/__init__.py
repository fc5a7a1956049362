"""Variables: ordered lists of things a model has tokens for, such as digits, days and months, and their states."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

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

_HOMES = {
    "builtin": ("BUILTIN", "names"),
    "form": ("Variable",),
    "rows": ("embedding_rows", "unembedding_rows"),
    "sources": ("variable",),
    "texts": ("Placed", "placed"),
    "value_states": ("states",),
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
