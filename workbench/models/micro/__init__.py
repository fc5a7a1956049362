"""The model that needs no download: two attention-only layers over characters, trained to copy what repeats."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.models.micro.attention_only import AttentionOnly, AttentionOnlyConfig
    from workbench.models.micro.characters import CharacterTokenizer
    from workbench.models.micro.checkpoint import load_micro, save_micro

__all__ = ["AttentionOnly", "AttentionOnlyConfig", "CharacterTokenizer", "load_micro", "save_micro"]

_HOMES = {
    "attention_only": ("AttentionOnly", "AttentionOnlyConfig"),
    "characters": ("CharacterTokenizer",),
    "checkpoint": ("load_micro", "save_micro"),
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
