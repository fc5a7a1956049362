"""Training small models: seeded, cut off and gone on with, measured and kept at chosen steps."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.training.history import read_history as read_history, write_history as write_history
    from workbench.training.loop import Training as Training, train as train
    from workbench.training.state import forget as forget

__all__ = ["Training", "forget", "read_history", "train", "write_history"]

_HOMES = {
    "history": ("read_history", "write_history"),
    "loop": ("Training", "train"),
    "state": ("forget",),
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
