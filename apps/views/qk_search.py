"""Which points a search means, the same on both pages of joint embeddings."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def matching(labels: Sequence[str], text: str, *, exact: bool) -> "np.ndarray":
    """Which labels hold `text`, or are it if `exact`, whatever the case, without spaces and marks of word pieces."""
    import numpy as np

    wanted = text.strip().casefold()

    @cache
    def fits(label: str) -> bool:
        bare = label.strip().casefold()
        return wanted in (bare, bare.removeprefix("##")) if exact else wanted in bare

    return np.array([fits(label) for label in labels], bool)
