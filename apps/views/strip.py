"""The token strip: the prompt as the model reads it; hovering a token shades what it attends to."""

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from apps.text import visible
from apps.views.component import component

if TYPE_CHECKING:
    import numpy as np


def token_strip(
    tokens: Sequence[str],
    *,
    key: str,
    first: int = 0,
    weights: "np.ndarray | None" = None,
    locked: int | None = None,
    outlined: bool = True,
    on_click: Callable[[], None] | None = None,
) -> Any:
    """Draw the strip of `tokens`, the first of which is position `first`.

    `weights` (query, key) from 0 to 1 shade; `locked` is the position whose row shades at rest; the token that
    is looked from is `outlined`. A click leaves a position in `st.session_state[key].click` and calls `on_click`.
    """
    data = {
        "tokens": [visible(token) for token in tokens],
        "first": first,
        "weights": None if weights is None else encoded(weights),
        "locked": locked,
        "outlined": outlined,
        "clickable": on_click is not None,
    }
    return component("token_strip")(key=key, data=data, on_click_change=on_click or (lambda: None))


def encoded(weights: "np.ndarray") -> str:
    """Numbers from 0 to 1 as one byte each, in base64."""
    import numpy as np

    return base64.b64encode(np.round(np.nan_to_num(weights) * 255).clip(0, 255).astype(np.uint8).tobytes()).decode()
