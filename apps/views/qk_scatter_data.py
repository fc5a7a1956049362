"""Numbers of many points as the few bytes that a browser needs of them."""

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

HALF = 32768
"""Where the middle of the cloud is on the grid of places; 0 stands for a point that has no place."""


def places(coordinates: "np.ndarray") -> "np.ndarray":
    """(point, dim) coordinates on one grid of 16 bits, the same step along each axis; 0 where one is not finite."""
    import numpy as np

    known = np.isfinite(coordinates).all(-1, keepdims=True)
    if not known.any():
        return np.zeros(coordinates.shape, np.uint16)
    low, high = (
        edge(coordinates, axis=0, where=known, initial=start) for edge, start in ((np.min, np.inf), (np.max, -np.inf))
    )
    half = float((high - low).max()) / 2 or 1.0
    steps = np.round((coordinates - (low + high) / 2) / half * (HALF - 1))
    return np.where(known, steps + HALF, 0).astype(np.uint16)


def levels(values: "np.ndarray") -> dict[str, Any]:
    """Numbers in 65,535 steps between the lowest and the highest; what is not known is 65535."""
    import numpy as np

    known = np.isfinite(values)
    low, high = (float(edge(values[known])) if known.any() else 0.0 for edge in (np.min, np.max))
    steps = np.round((np.where(known, values, low) - low) / ((high - low) or 1.0) * 65534)
    return {"low": low, "high": high, "values": encoded(np.where(known, steps, 65535), np.uint16)}


def encoded(values: Any, kind: Any) -> str:
    """Numbers as little-endian bytes in base64."""
    import numpy as np

    return base64.b64encode(np.ascontiguousarray(values).astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()
