"""Colours of the points of joint embeddings, the same on every page, and the legend that says what they mean."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.text import visible
from apps.views.component import component
from apps.views.sprite import css

if TYPE_CHECKING:
    import numpy as np

    from workbench.analyses.embedding.colourings import Colouring

Colour = tuple[int, int, int]

CATEGORIES: tuple[Colour, ...] = (
    (47, 127, 196),
    (224, 138, 30),
    (34, 206, 152),
    (190, 6, 51),
    (227, 158, 231),
    (165, 114, 255),
    (164, 46, 118),
    (164, 151, 74),
)
"""Any two are at least 18 apart in CIELAB to each kind of colour blindness, and at least 2 to 1 from both pages."""
OTHER: Colour = (140, 146, 158)
DIM = {False: (222, 225, 229), True: (52, 59, 65)}
"""Points that a search does not mean, on a light and on a dark page."""
LEVELS = 32
SCALE: tuple[Colour, ...] = (
    (68, 1, 84),
    (72, 40, 120),
    (62, 74, 137),
    (49, 104, 142),
    (38, 130, 142),
    (31, 158, 137),
    (53, 183, 121),
    (110, 206, 88),
    (181, 222, 43),
    (253, 231, 37),
)
"""Viridis (Smith and van der Walt 2015): as ordered to the colour-blind, and in grey."""
ENDS = {False: (0.0, 0.9), True: (0.2, 1.0)}
"""The part of the scale that is seen on a light and on a dark page."""
ROUND: tuple[Colour, ...] = (
    (115, 57, 87),
    (158, 94, 48),
    (196, 160, 78),
    (205, 214, 145),
    (146, 205, 196),
    (86, 155, 191),
    (88, 100, 160),
)
"""A scale that ends where it begins."""
_GREY = ("hue", "orientation")  # what an even patch does not have


@dataclass(frozen=True, eq=False, kw_only=True)
class Painted:
    """A colour for every point."""

    index: "np.ndarray"
    """(point,), or (head, point) where it differs from head to head: 1 + the place in `palette`, as uint8."""
    palette: tuple[Colour, ...]
    """The colours of the points, the last of them for all others, then the dim one."""
    legend: dict[str, Any]
    """As the browser reads it."""

    @property
    def other(self) -> int:
        """The index of points that are none of what has a colour."""
        return len(self.palette) - 1

    @property
    def dim(self) -> int:
        """The index of points that are not meant."""
        return len(self.palette)


def painted(colouring: "Colouring", *, norms: "np.ndarray | None" = None, dark: bool = False) -> Painted:
    """The colours of the points; `norms` (head, point) are what a colouring without values is about."""
    if colouring.kind == "category" and len(colouring.categories) <= max(len(CATEGORIES), _most(colouring)):
        return _categories(colouring, dark)
    if colouring.kind == "circular" or colouring.kind == "category":
        return _round(colouring, dark)
    return _numbers(colouring, norms, dark)


def _most(colouring: "Colouring") -> int:
    """How many categories may be folded into colours and an "other": any number, where they have no order."""
    return 0 if colouring.name == "position mod" else len(colouring.categories)


def _categories(colouring: "Colouring", dark: bool) -> Painted:
    import numpy as np

    assert colouring.values is not None
    names = list(colouring.categories)
    if names[-1:] == ["other"]:
        names.pop()
    shown = names[: len(CATEGORIES)]
    palette = (*CATEGORIES[: len(shown)], OTHER, DIM[dark])
    known = np.isfinite(colouring.values)
    number = np.where(known, colouring.values, len(shown)).astype(int)
    index = (np.minimum(number, len(shown)) + 1).astype(np.uint8)
    counts = np.bincount(index, minlength=len(shown) + 2)[1:]
    items = [
        {"colour": css(CATEGORIES[i]), "text": visible(name), "count": int(counts[i])} for i, name in enumerate(shown)
    ]
    if counts[len(shown)]:
        items.append({"colour": css(OTHER), "text": _rest(colouring, known), "count": int(counts[len(shown)])})
    return Painted(index=index, palette=palette, legend={"title": colouring.name, "items": items})


def _rest(colouring: "Colouring", known: "np.ndarray") -> str:
    if known.all():
        return "other"
    return "not known" if len(colouring.categories) <= len(CATEGORIES) else "other, or not known"


def _numbers(colouring: "Colouring", norms: "np.ndarray | None", dark: bool) -> Painted:
    """Low to high between the 1st and the 99th percentile: of all points, or of each head's own."""
    import numpy as np

    values = norms if colouring.values is None else colouring.values
    assert values is not None
    empty = np.isnan(values).all(-1, keepdims=True)
    low, high = np.nanpercentile(np.where(empty, 0.0, values), [1, 99], axis=-1, keepdims=True)
    level = (values - low) / np.where(high > low, high - low, 1.0)
    palette = (*_shades(SCALE, LEVELS, *ENDS[dark]), OTHER, DIM[dark])
    legend: dict[str, Any] = {"title": colouring.name, "bar": [css(c) for c in palette[:LEVELS]]}
    if colouring.values is None:
        legend |= {"low": "shortest", "high": "longest", "note": "in each head on its own scale"}
    else:
        ends = [float(low[0]), float(high[0])]
        outside = float(np.nanmin(values)) < ends[0], float(np.nanmax(values)) > ends[1]
        legend |= {
            "low": ("≤ " if outside[0] else "") + f"{ends[0]:.3g}",
            "high": ("≥ " if outside[1] else "") + f"{ends[1]:.3g}",
        }
    return _levels(level.clip(0, 1), palette, legend)


def _round(colouring: "Colouring", dark: bool) -> Painted:
    import numpy as np

    assert colouring.values is not None
    steps = len(colouring.categories) or 1
    if colouring.name == "hue":
        colours = tuple(_of_hue(i / LEVELS) for i in range(LEVELS))
    else:
        colours = _shades((*ROUND, ROUND[0]), LEVELS + 1)[:-1]
    legend: dict[str, Any] = {"title": colouring.name, "bar": [css(c) for c in colours]}
    if colouring.categories:
        legend |= {"low": colouring.categories[0], "high": colouring.categories[-1]}
    else:
        legend |= {"low": "0°", "high": "180°" if colouring.name == "orientation" else "360°"}
    return _levels(np.mod(colouring.values / steps, 1), (*colours, OTHER, DIM[dark]), legend)


def _levels(level: "np.ndarray", palette: tuple[Colour, ...], legend: dict[str, Any]) -> Painted:
    """Values from 0 to 1 as places in a palette; what is not known takes the colour after the scale."""
    import numpy as np

    known = np.isfinite(level)
    index = np.where(known, np.floor(np.where(known, level, 0) * (LEVELS - 0.001)), LEVELS).astype(np.uint8) + 1
    if not known.all():
        text = f"no {legend['title']}" if legend["title"] in _GREY else "not known"
        legend["items"] = [{"colour": css(OTHER), "text": text, "count": int((~known).sum())}]
    return Painted(index=index.astype(np.uint8), palette=palette, legend=legend)


def _shades(stops: tuple[Colour, ...], n: int, first: float = 0.0, last: float = 1.0) -> tuple[Colour, ...]:
    """`n` colours from one part of a scale to another."""
    import numpy as np

    table = np.array(stops, float)
    at = np.linspace(first, last, n) * (len(table) - 1)
    mixed = [np.interp(at, np.arange(len(table)), table[:, channel]) for channel in range(3)]
    return tuple((int(r), int(g), int(b)) for r, g, b in np.rint(mixed).T)


def _of_hue(turn: float) -> Colour:
    import colorsys

    r, g, b = colorsys.hsv_to_rgb(turn, 0.75, 0.9)
    return round(255 * r), round(255 * g), round(255 * b)


def legend(one: Painted, *, key: str) -> Any:
    """Draw what the colours mean."""
    return component("qk_legend")(key=key, data=one.legend)
