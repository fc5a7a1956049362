"""The map of patches: a coloured cell for each, which can be clicked, or reached with the arrow keys."""

import base64
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.text import visible
from apps.views.component import component
from apps.views.sprite import css
from apps.views.token_table_colours import palette

if TYPE_CHECKING:
    from workbench.analyses.circuits.activation_patching import ActivationPatching

MOST_ROWS = 40
"""Heads that have a row each where they are patched position by position."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """What the map draws of a sweep; rows and columns name places in the result's tensors."""

    rows: tuple[str, ...]
    row_name: str
    columns: tuple[tuple[str, ...], ...]
    """Labels above and below: of both prompts, or one of heads."""
    column_name: str
    differ: tuple[bool, ...]
    """Columns whose tokens differ."""
    places: tuple[tuple[tuple[int, int, int], ...], ...]
    """(layer, head, position) of each cell in the result, row by row."""
    left_out: int
    """Heads without a row."""


def map_of(found: "ActivationPatching") -> Map:
    """Rows and columns of a sweep: the last layer on top."""
    layers, heads, positions = (part.tolist() for part in (found.layers, found.heads, found.positions))
    by_position = positions[0] >= 0
    if by_position:
        texts = tuple(tuple(visible(tokens[p]) for p in positions) for tokens in (found.tokens, found.corrupted_tokens))
        differ = tuple(found.tokens[p] != found.corrupted_tokens[p] for p in positions)
    else:
        texts, differ = ((tuple("all" if h < 0 else str(h) for h in heads)),), (False,) * len(heads)
    pairs = [(i, j) for i in range(len(layers)) for j in range(len(heads))]
    left_out = 0
    if by_position and heads[0] >= 0:
        reach = found.effect.nan_to_num().abs().amax(-1).flatten().tolist()
        kept = sorted(sorted(range(len(pairs)), key=lambda i: -reach[i])[:MOST_ROWS])
        left_out, pairs = len(pairs) - len(kept), [pairs[i] for i in kept]
        rows = tuple(f"{layers[i]}.{heads[j]}" for i, j in pairs)
        places = [tuple((i, j, k) for k in range(len(positions))) for i, j in pairs]
    elif by_position:
        rows = tuple(map(str, layers))
        places = [tuple((i, 0, k) for k in range(len(positions))) for i in range(len(layers))]
    else:
        rows = tuple(map(str, layers))
        places = [tuple((i, j, 0) for j in range(len(heads))) for i in range(len(layers))]
    return Map(
        rows=rows[::-1],
        row_name="head" if by_position and heads[0] >= 0 else "layer",
        columns=texts,
        column_name="position" if by_position else "head",
        differ=differ,
        places=tuple(places[::-1]),
        left_out=left_out,
    )


def patch_map(
    found: "ActivationPatching",
    shown: Map,
    *,
    chosen: Collection[str],
    key: str,
    dark: bool,
    on_click: Callable[[], None],
) -> Any:
    """Draw the map with the `chosen` patches framed. A click leaves a patch's text in `st.session_state[key].click`."""
    return component("patch_map")(key=key, data=map_data(found, shown, chosen, dark=dark), on_click_change=on_click)


def map_data(found: "ActivationPatching", shown: Map, chosen: Collection[str], *, dark: bool) -> dict[str, Any]:
    """What the browser reads: three numbers a cell as float32, and the texts of all patches."""
    import numpy as np

    index = np.array(shown.places)  # (row, column, 3)
    pick = tuple(index.reshape(-1, 3).T)
    numbers = [part.numpy()[pick] for part in (found.effect, found.value, found.probability)]
    return {
        "numbers": [base64.b64encode(np.ascontiguousarray(one, "<f4").tobytes()).decode() for one in numbers],
        "most": largest(found),
        "patches": [found.intervention(*place) for row in shown.places for place in row],
        "rows": shown.rows,
        "rowName": shown.row_name,
        "columns": shown.columns,
        "columnName": shown.column_name,
        "differ": shown.differ,
        "chosen": sorted(chosen),
        "metric": found.target,
        "token": visible(found.token),
        "palette": [css(colour) for colour in palette(dark=dark)],
    }


def largest(found: "ActivationPatching") -> float:
    """The end of the scale of colours."""
    most = found.effect.nan_to_num().abs().max().item()
    return most if most > 0 and math.isfinite(most) else 1.0


def positions_of(texts: Sequence[str], count: int) -> set[int]:
    """The positions that patches name."""
    from workbench.interventions import parse

    return {p % count for text in texts for p in parse(text).positions if -count <= p < count}
