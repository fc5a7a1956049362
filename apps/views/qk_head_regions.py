"""Sets of points that fit into an address: a lasso, a token, an input, a category. The browser reads them the same way.

L is a lasso: the name of the cloud, two angles in tenths of a degree, corners of four base-36 digits a number; T is a
token, H are those that hold a text; S the number of an input; K the place of a colour and the name of a colouring.
"""

from typing import TYPE_CHECKING
from urllib.parse import unquote

from apps.views.qk_scatter import Cloud
from apps.views.qk_scatter_data import HALF, places
from apps.views.qk_search import matching

if TYPE_CHECKING:
    import numpy as np

_CORNER = 65536  # added to a corner's number, which may be negative
_MOST = 4000  # characters: a lasso of sixty corners has 500


def checked(text: str, cloud: Cloud) -> str:
    """A region as it stands in the address. Raises `ValueError` for what is none, or a lasso of another picture."""
    if len(text) > _MOST:
        raise ValueError(text[:20])
    kind, body = text[:1], text[1:]
    if kind == "L":
        if _lasso(body)[0] != cloud.name:
            raise ValueError(text[:20])
    elif kind == "S":
        int(body)
    elif kind == "K":
        int(body.partition(".")[0])
    elif kind not in ("T", "H") or not body:
        raise ValueError(text[:20])
    return text


def inside(text: str, cloud: Cloud) -> "np.ndarray":
    """(point,) whether each is in the region."""
    import numpy as np

    kind, body = text[0], text[1:]
    if kind == "L":
        return _inside_lasso(body, cloud)
    if kind in "TH":
        return matching(tuple(cloud.labels), unquote(body), exact=kind == "T")
    if kind == "S":
        return cloud.input == int(body)
    index, _, name = body.partition(".")
    one = next((one for one in cloud.colours if one.name == unquote(name)), None)
    return np.zeros(len(cloud.labels), bool) if one is None else one.index == int(index) + 1


def _lasso(body: str) -> tuple[str, int, int, list[tuple[int, int]]]:
    name, yaw, pitch, digits = body.split(".")
    if len(digits) % 8 or len(digits) < 24:
        raise ValueError(body[:20])
    numbers = [int(digits[i : i + 4], 36) - _CORNER for i in range(0, len(digits), 4)]
    return name, int(yaw), int(pitch), list(zip(numbers[::2], numbers[1::2], strict=True))


def _inside_lasso(body: str, cloud: Cloud) -> "np.ndarray":
    import numpy as np

    _, yaw, pitch, corners = _lasso(body)
    grid = places(cloud.coordinates)
    placed = grid[:, 0] > 0
    axes = np.zeros((3, len(grid)))
    axes[: grid.shape[1]] = grid.T.astype(float) - HALF
    a, b = yaw * np.pi / 1800, pitch * np.pi / 1800
    back = axes[2] * np.cos(a) - axes[0] * np.sin(a)
    x, y = axes[0] * np.cos(a) + axes[2] * np.sin(a), axes[1] * np.cos(b) - back * np.sin(b)
    odd = np.zeros(len(grid), bool)
    for (xi, yi), (xj, yj) in zip(corners, [corners[-1], *corners[:-1]], strict=True):
        if yi != yj:
            odd ^= ((yi > y) != (yj > y)) & (x < (xj - xi) * (y - yi) / (yj - yi) + xi)
    return odd & placed
