"""The one scale of colours of all methods: blue speaks for the answer, orange against, each column by its largest."""

from typing import TYPE_CHECKING

from apps.views.sprite import DARK, LIGHT

if TYPE_CHECKING:
    import numpy as np

LEVELS = 12
"""Shades on each side of zero."""
_AGAINST_LIGHT = ((255, 255, 255), (250, 222, 196), (236, 150, 80), (166, 80, 10))
_AGAINST_DARK = ((24, 29, 33), (92, 52, 20), (190, 105, 30), (255, 196, 128))

Colour = tuple[int, int, int]


def palette(*, dark: bool) -> list[Colour]:
    """Colours from all against, over nothing, to all in favour; scores without a sign use the second half."""
    favour, against = (DARK[:-1], _AGAINST_DARK) if dark else (LIGHT[:-1], _AGAINST_LIGHT)
    return [*_ramp(against, LEVELS + 1)[:0:-1], *_ramp(favour, LEVELS + 1)]


def shades(values: "np.ndarray") -> "np.ndarray":
    """(token,) scores of one column as places from -1 to 1 in the palette; undefined ones stay NaN.

    Each is divided by the largest of its column; the square root lets a tenth of the largest still be seen.
    """
    import numpy as np

    largest = np.nanmax(np.abs(values), initial=0.0)
    part = np.abs(values) / largest if largest > 0 else np.where(np.isnan(values), np.nan, 0.0)
    return np.sign(values) * np.sqrt(part)


def _ramp(stops: tuple[Colour, ...], n: int) -> list[Colour]:
    colours = []
    for i in range(n):
        at = i / (n - 1) * (len(stops) - 1)
        low = min(int(at), len(stops) - 2)
        pairs = zip(stops[low], stops[low + 1], strict=True)
        red, green, blue = (round(a + (b - a) * (at - low)) for a, b in pairs)
        colours.append((red, green, blue))
    return colours
