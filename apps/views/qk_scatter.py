"""One head's queries and keys as points on a canvas: what the browser is sent, and what it tells back."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from apps.text import short, visible
from apps.views.component import component
from apps.views.qk_scatter_data import encoded, levels, places

if TYPE_CHECKING:
    import numpy as np

_PARTS = ("points", "drawing", "plot", "over", "bar", "hand")
_SENTENCE = 240  # characters of an input that a hover shows
_FREQUENT = 300  # tokens that the search offers


@dataclass(frozen=True, kw_only=True)
class Colours:
    """One way to colour the points."""

    name: str
    index: "np.ndarray"
    """(point,) 1 + the place among the colours, as uint8."""
    light: Sequence[str]
    """The colours on a light page."""
    dark: Sequence[str]
    legend: Mapping[str, Any]
    """What they mean on a light page: `items` with a text each, or a scale from `low` to `high`."""
    numbers: "np.ndarray | None" = None
    """(point,) what a scale is about; NaN is not known."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Everything that stays while one head is looked at; points are all queries, then all keys."""

    name: str
    """A few letters that another picture of the points does not have: a lasso is only good for its own."""
    coordinates: "np.ndarray"
    """(point, 2 or 3); NaN has no place."""
    n_queries: int
    labels: Sequence[str]
    input: "np.ndarray"
    position: "np.ndarray"
    tags: Sequence[str]
    texts: Sequence[str]
    """One an input."""
    noun: str
    """What one input is."""
    hint: str
    """What can be looked for."""
    strongest: "np.ndarray"
    """(query, k) points of its most attended keys; -1 is none."""
    weights: "np.ndarray"
    colours: Sequence[Colours]
    sizes: "np.ndarray | None" = None
    """(point,) value norms; NaN is not known."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What the browser may change by itself, and then tells."""

    colour: str = ""
    modulo: int = 5
    show: str = "both"
    size: bool = False
    find: str = ""
    exact: bool = False
    point: int | None = None
    selected: str = ""
    """A region, as `qk_head_regions` reads it."""
    isolated: tuple[str, ...] = ()
    """Points outside any of these regions are hidden."""


def qk_scatter(content: Mapping[str, Any], version: str, view: View, *, turn: int, key: str, on_view: Any) -> Any:
    """Draw the points; what the reader changes is left as a mapping in `st.session_state[key].view`, turn and all.

    `turn` is that of the last change that is answered: the browser ignores answers to what it has changed since.
    """
    values = asdict(view)
    stamp = json.dumps(values, sort_keys=True)
    data = {"version": version, "content": content, "view": {"values": values, "turn": turn, "stamp": stamp}}
    return component("qk_scatter", *_PARTS)(key=key, data=data, on_view_change=on_view)


def cloud_data(cloud: Cloud) -> tuple[dict[str, Any], str]:
    """The cloud as the browser reads it, and a name of its own: numbers as base64, texts once each."""
    import numpy as np

    words = {label: i for i, label in enumerate(dict.fromkeys(cloud.labels))}
    bare = {label: label.strip().casefold() for label in words}
    tags = {tag: i for i, tag in enumerate(sorted({tag for tag in cloud.tags if tag}))}
    content = {
        "name": cloud.name,
        "count": len(cloud.labels),
        "queries": cloud.n_queries,
        "dims": cloud.coordinates.shape[1],
        "places": encoded(places(cloud.coordinates), np.uint16),
        "words": [visible(label) for label in words],
        "bare": list(bare.values()),
        "word": encoded([words[label] for label in cloud.labels], np.uint32),
        "frequent": [word for word, _ in Counter(bare[label] for label in cloud.labels).most_common(_FREQUENT) if word],
        "input": encoded(cloud.input, np.uint32),
        "input_word": cloud.noun,
        "hint": cloud.hint,
        "position": encoded(np.clip(cloud.position, 0, 65535), np.uint16),
        "tags": list(tags),
        "tag": encoded([tags.get(tag, 65535) for tag in cloud.tags], np.uint16) if tags else None,
        "texts": [short(" ".join(text.split()), _SENTENCE) for text in cloud.texts],
        "strongest": encoded(np.where(cloud.strongest < 0, 2**32 - 1, cloud.strongest), np.uint32),
        "weights": encoded(np.round(np.nan_to_num(cloud.weights) * 255), np.uint8),
        "each": cloud.strongest.shape[1],
        "colourings": [_colours(one) for one in cloud.colours],
        "sizes": _sizes(cloud.sizes),
    }
    return content, hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _colours(one: Colours) -> dict[str, Any]:
    import numpy as np

    return {
        "name": one.name,
        "index": encoded(one.index, np.uint8),
        "light": list(one.light),
        "dark": list(one.dark),
        "legend": dict(one.legend),
        "numbers": None if one.numbers is None else levels(one.numbers),
    }


def _sizes(values: "np.ndarray | None") -> dict[str, Any] | None:
    import numpy as np

    if values is None or np.isnan(values).all():
        return None
    return {"name": "value norm", **levels(values), "middle": float(np.nanmedian(values)) or 1.0}
