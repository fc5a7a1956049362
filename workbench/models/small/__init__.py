"""A small transformer for studies: made from its sizes, saved in a folder, opened by `workbench.load`."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.models.small.config import SmallConfig
    from workbench.models.small.transformer import SmallTransformer
    from workbench.models.small.words import save_small, word_tokenizer

__all__ = ["SmallConfig", "SmallTransformer", "save_small", "word_tokenizer"]

_HOMES = {
    "config": ("SmallConfig",),
    "transformer": ("SmallTransformer",),
    "words": ("save_small", "word_tokenizer"),
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
