"""Axis ticks that name each place once, even where two tokens have the same text."""

from typing import TYPE_CHECKING, Any

from workbench.plots.text import plain

if TYPE_CHECKING:
    import pandas as pd

MOST = 80
"""More ticks than this cannot be read, even on an axis that grows with them; they are thinned evenly."""
THIN = 40
"""The same for an axis of usual length."""


def places(frame: "pd.DataFrame", column: str) -> list[Any]:
    """The distinct values of `column`: sorted when they are numbers, in order of appearance otherwise."""
    values = frame[column].drop_duplicates().tolist()
    return sorted(values) if all(isinstance(v, int | float) for v in values) else values


def ticks(frame: "pd.DataFrame", column: str, labels: str | None, *, most: int = MOST) -> dict[str, Any]:
    """Axis settings that write `labels` (a column; default: the values) at places 0, 1, 2, ..., `most` of them."""
    values = places(frame, column)
    if labels is None:
        names = [plain(v) for v in values]
    else:
        by_place = frame.drop_duplicates(column).set_index(column)[labels]
        names = [plain(by_place[v], limit=24) for v in values]
    step = -(-len(values) // most) or 1
    return {"tickmode": "array", "tickvals": list(range(0, len(values), step)), "ticktext": names[::step]}
