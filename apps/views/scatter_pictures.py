"""Clouds of points as small pictures: one byte a pixel, which names a colour; 0 is nothing."""

from typing import TYPE_CHECKING, Any

from apps.views.sprite import png, sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

PIXELS = 7_000_000
"""Of all pictures together: enough for two a pixel of the screen."""
BYTES = 2_300_000
"""Of all pictures together as the browser is sent them: a page has 3 MB."""
EDGES = (0.5, 99.5)
"""Percentiles that a picture reaches to; what lies outside is drawn at its edge."""
_LEAST = 24  # pixels a side


def side_of(n: int) -> int:
    """Pixels a side that each of `n` pictures may have."""
    return max(_LEAST, min(320, int((PIXELS / max(n, 1)) ** 0.5)))


def within_bytes(
    points: "np.ndarray",
    colours: "np.ndarray",
    palette: "Sequence[tuple[int, int, int]]",
    *,
    columns: int,
    behind: int = 0,
    front: "np.ndarray | None" = None,
) -> "tuple[np.ndarray, dict[str, Any]]":
    """The pictures, as `scatter_pictures` draws them, and all in one, as large as the limits allow."""
    side = side_of(len(points))
    while True:
        pictures = scatter_pictures(points, colours, side=side, behind=behind, front=front)
        whole = scatter_sheet(pictures, palette, columns=columns)
        if len(whole["url"]) <= BYTES or side <= _LEAST:
            return pictures, whole
        side = max(_LEAST, int(side * 0.9 * (BYTES / len(whole["url"])) ** 0.5))


def scatter_pictures(
    points: "np.ndarray",
    colours: "np.ndarray",
    *,
    side: int,
    behind: int = 0,
    front: "np.ndarray | None" = None,
    seed: int = 0,
) -> "np.ndarray":
    """(head, point, 2) points as (head, side, side) pictures in `colours`, uint8 (point,) or (head, point).

    Both axes of a picture have one scale. Points are drawn in a random order, so that no colour covers another for its
    place in the list: only the colour `behind` is drawn first, and those in `front` (point,) last and larger. Points
    that are NaN, or of colour 0, are not drawn; a head without points is an empty picture.
    """
    import numpy as np

    heads, n, _ = points.shape
    colours = np.broadcast_to(colours, (heads, n))
    radius = max(0.9, 1.15 * side / 160) * float(np.clip((4000 / max(n, 1)) ** 0.2, 0.8, 1.6))
    reach = int(2 * radius) + 1
    at, drawn = _pixels(points, side, reach)
    nowhere = heads * side * side + side * reach + reach  # below the last picture, where nobody looks
    at = np.where(drawn & (colours > 0), at, nowhere)
    canvas = np.zeros(nowhere + side * reach + reach + 1, np.uint8)
    order = np.random.default_rng(seed).permutation(n)
    rank = 1 - (colours == behind).all(0).astype(int)
    if front is not None:
        rank[front] = 2
    for place, size in ((0, radius), (1, radius), (2, 1.7 * radius)):
        some = order[rank[order] == place]
        where, colour = at[:, some].ravel(), colours[:, some].ravel()
        for down, right in _disc(size):
            canvas[where + (down * side + right)] = colour
    return canvas[: heads * side * side].reshape(heads, side, side)


def _pixels(points: "np.ndarray", side: int, reach: int) -> "tuple[np.ndarray, np.ndarray]":
    """(head, point): the pixel of each point, counted through all pictures, and whether it has one."""
    import numpy as np

    xy = points.astype(np.float32)
    drawn = np.asarray(np.isfinite(xy).all(-1))
    xy = np.where(drawn[..., None], xy, np.nan)
    xy[~drawn.any(-1)] = 0.0
    low, high = np.nanpercentile(xy, EDGES, axis=1)
    middle, half = (low + high) / 2, (high - low).max(-1) / 2
    half = np.where(half > 0, half * 1.04, 1.0)
    turn = (xy - middle[:, None]) / half[:, None, None]
    last = side - 1 - 2 * reach
    pixel = np.rint((np.nan_to_num(turn).clip(-1, 1) + 1) / 2 * last).astype(np.int32) + reach
    row, column = side - 1 - pixel[..., 1], pixel[..., 0]
    first = np.arange(len(xy), dtype=np.int32)[:, None] * (side * side)
    return first + row * side + column, drawn


def _disc(radius: float) -> list[tuple[int, int]]:
    """Pixels (down, right) within `radius` of one."""
    reach = int(radius)
    steps = range(-reach, reach + 1)
    return [(y, x) for y in steps for x in steps if y * y + x * x <= radius * radius]


def scatter_sheet(pictures: "np.ndarray", palette: "Sequence[tuple[int, int, int]]", *, columns: int) -> dict[str, Any]:
    """All pictures in one PNG, through which the page is seen where there is nothing."""
    return sheet(pictures, ((255, 255, 255), *palette), columns=columns, transparency=0, compress_level=5)


def scatter_png(picture: "np.ndarray", palette: "Sequence[tuple[int, int, int]]") -> bytes:
    """One picture as a PNG of its own."""
    return png(picture, ((255, 255, 255), *palette), transparency=0)
