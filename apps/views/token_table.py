"""The token table: tokens as rows, methods of attribution as columns in one scale of colours, the causal check last."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from apps.text import visible
from apps.views.component import component
from apps.views.sprite import css, ink_on
from apps.views.token_table_colours import palette

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one method, or the causal check, says of every token."""

    name: str
    title: str
    values: "np.ndarray"
    """(step, token); one row where the method has no steps. NaN is left blank."""
    signed: bool = False
    cost: str = ""
    note: str = ""
    """Where it misleads."""
    agreement: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Measure -> rank correlation with the causal check after each step; "spearman" ranks. Empty for the check."""
    same: bool = False
    """Whether it takes tokens away just as the check does, so that agreeing says nothing."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """How well an order that knows nothing agrees with the causal check."""

    mean: float
    low: float
    high: float
    """95 of 100 such orders lie between the two."""


def token_table(
    tokens: Sequence[str],
    columns: Sequence[Column],
    check: Column | None,
    *,
    steps: Sequence[str],
    step: int,
    row: int | None,
    control: Control | None,
    counted: Sequence[bool],
    sides: Sequence[str],
    key: str,
    dark: bool,
    on_step: Callable[[], None],
    on_click: Callable[[], None],
) -> Any:
    """Draw the table with cumulative columns after `step`, `row` highlighted, and the ranking over `counted` tokens.

    Moving the slider leaves a step in `st.session_state[key].step`, a click on a token its row in `.click`.
    """
    content = {
        "tokens": [visible(token) for token in tokens],
        "columns": [column_data(column) for column in columns],
        "check": None if check is None else column_data(check),
        "steps": list(steps),
        "control": None if control is None else asdict(control),
        "counted": list(map(bool, counted)),
        "breaks": [i for i in range(1, len(sides)) if sides[i] != sides[i - 1]],
        "palette": [[css(colour), ink_on(colour)] for colour in palette(dark=dark)],
    }
    version = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    data = {**content, "version": version, "step": step, "row": row}
    return component("token_table")(key=key, data=data, on_step_change=on_step, on_click_change=on_click)


def column_data(column: Column) -> dict[str, Any]:
    """A column as the browser reads it: numbers as float32 in base64, undefined ones NaN."""
    import numpy as np

    return {
        "name": column.name,
        "title": column.title,
        "values": base64.b64encode(np.ascontiguousarray(column.values, "<f4").tobytes()).decode(),
        "n_steps": len(column.values),
        "signed": column.signed,
        "cost": column.cost,
        "note": column.note,
        "same": column.same,
        "agreement": {
            measure: [None if value != value else value for value in values]
            for measure, values in column.agreement.items()
        },
    }
