"""What commands print: tables for eyes, JSON and CSV for programs."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from workbench.plots.text import visible

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20


def columns(rows: Iterable[Sequence[object]], *, header: Sequence[str] = ()) -> str:
    """Rows of text in aligned columns."""
    table = [[str(cell) for cell in row] for row in ((header,) if header else ())]
    table += [[visible_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))] if table else []
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table)


def visible_text(value: object) -> str:
    """`value` without characters that a terminal would obey; plain spaces stay."""
    return visible(value).replace("␣", " ")


def table(frame: "pd.DataFrame") -> str:
    """The first and last rows of a frame, or that it has none; token text with its spaces visible."""
    if frame.empty:
        return "(no rows)"
    shown = frame.map(lambda value: visible(value) if isinstance(value, str) else value)
    rest = f"\n({len(frame)} rows; --json or --csv prints them all)" if len(frame) > ROWS else ""
    return shown.to_string(index=False, max_rows=ROWS) + rest


def records(frame: "pd.DataFrame") -> str:
    """The frame as a JSON list of records, one a line; what is undefined is null."""
    columns = {name: map(_json_value, frame[name].tolist()) for name in frame.columns}
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in rows) + "\n]"


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
