"""Many small pictures as one PNG of one byte a pixel: what the head grid sends instead of numbers."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.plots.theme import BLUES

if TYPE_CHECKING:
    import numpy as np

PIXELS = 250_000  # of the whole sprite, which keeps it under about 150 kB
LEVELS = 24  # shades that the eye tells apart on a small picture; fewer compress better

LIGHT = BLUES
DARK = ((24, 29, 33), (26, 58, 92), (46, 112, 170), (133, 190, 236), (245, 251, 255))
"""Colours from no attention to all of it: one hue, so that lightness alone carries the value."""


def picture_size(n: int) -> int:
    """Pixels a side that `n` pictures may have, at most 48."""
    return max(8, min(48, int((PIXELS / max(n, 1)) ** 0.5)))


def sprite(pictures: "np.ndarray", *, columns: int, dark: bool = False) -> dict[str, object]:
    """(n, height, width) uint8 pictures laid row by row into one, as a data address, with its rows and columns.

    Shades follow the square root of the value, so that a tenth of the attention is still to be seen.
    """
    import numpy as np

    shade = np.round(np.sqrt(np.arange(256) / 255) * (LEVELS - 1)).astype(np.uint8)
    return sheet(shade[pictures], scale(LEVELS, dark=dark), columns=columns, optimize=True)


def sheet(
    indices: "np.ndarray", palette: Sequence[tuple[int, int, int]], *, columns: int, **options: Any
) -> dict[str, object]:
    """(n, height, width) places in `palette`, laid row by row into one picture; `options` are those of the PNG."""
    import numpy as np

    n, height, width = indices.shape
    rows = -(-n // columns)
    whole = np.zeros((rows * columns, height, width), np.uint8)
    whole[:n] = indices
    whole = whole.reshape(rows, columns, height, width).transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    data = png(np.ascontiguousarray(whole), palette, **options)
    return {"url": "data:image/png;base64," + base64.b64encode(data).decode(), "rows": rows, "columns": columns}


def png(indices: "np.ndarray", palette: Sequence[tuple[int, int, int]], **options: Any) -> bytes:
    """(height, width) places in `palette` as a PNG of one byte a pixel."""
    from PIL import Image

    image = Image.fromarray(indices).convert("P")
    image.putpalette([channel for colour in palette for channel in colour])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def scale(n: int, *, dark: bool) -> list[tuple[int, int, int]]:
    """`n` colours from no attention to all of it."""
    stops = DARK if dark else LIGHT
    colours = []
    for i in range(n):
        at = i / max(n - 1, 1) * (len(stops) - 1)
        low = min(int(at), len(stops) - 2)
        part = at - low
        colours.append(tuple(round(a + (b - a) * part) for a, b in zip(stops[low], stops[low + 1], strict=True)))
    return colours


def css(colour: tuple[int, int, int]) -> str:
    """A colour as the browser reads it."""
    return f"#{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}"


def ink_on(colour: tuple[int, int, int]) -> str:
    """Black or white, whichever is easier to read on `colour`."""
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return "#11171b" if bright > 130 else "#ffffff"
