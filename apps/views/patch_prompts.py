"""The two prompts of a pair, token under token, with what differs marked and the place where the answer is read."""

from collections.abc import Collection, Sequence
from typing import Any

from apps.text import visible
from apps.views.component import component


def patch_prompts(
    clean: Sequence[str], corrupted: Sequence[str], *, answer: int | None, patched: Collection[int], key: str
) -> Any:
    """Draw both prompts in columns, a position each; `patched` positions are marked as well."""
    data = {
        "rows": [["clean", list(map(visible, clean))], ["corrupted", list(map(visible, corrupted))]],
        "differ": [a != b for a, b in zip(clean, corrupted, strict=True)],
        "answer": answer,
        "patched": sorted(patched),
    }
    return component("patch_prompts")(key=key, data=data)
