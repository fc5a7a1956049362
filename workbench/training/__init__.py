"""Training small models: seeded, cut off and gone on with, measured and kept at chosen steps."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.training.loop import Training as Training, train as train

__all__ = ["Training", "train"]

_HOMES = {
    "loop": ("Training", "train"),
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
