"""All layers by all heads as one picture, so that a browser receives one image and not hundreds of charts."""

import base64
import io
from typing import TYPE_CHECKING

from workbench.plots.text import sentence
from workbench.plots.theme import BLUES, styled

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

_GAP = 255
"""The palette's last colour is what lies between the pictures; the first 255 are the scale."""
_BETWEEN = (213, 218, 225)


def head_grid(thumbnails: "np.ndarray", *, gap: int = 2, title: str = "") -> "go.Figure":
    """One small picture for each layer (row) and head (column), clickable.

    `thumbnails` is (layer, head, query, key), uint8, 255 the strongest; each is drawn with query 0 at the top, the
    darker the stronger, by the square root of the value, so that a tenth of the attention is still to be seen.
    Clicks come from an invisible marker at each picture's centre, whose `customdata` is (layer, head): plotly
    reports none on images.
    """
    import plotly.graph_objects as go

    layers, heads, height, width = thumbnails.shape
    figure = go.Figure()
    figure.add_layout_image(
        source=png_uri(_mosaic(thumbnails, gap)), xref="x", yref="y", x=-0.5, y=-0.5, sizex=heads, sizey=layers,
        sizing="stretch", layer="below", xanchor="left", yanchor="top",
    )  # fmt: skip
    cells = [(layer, head) for layer in range(layers) for head in range(heads)]
    figure.add_scatter(
        x=[head for _, head in cells],
        y=[layer for layer, _ in cells],
        customdata=cells,
        text=[f"layer {layer}, head {head}" for layer, head in cells],
        mode="markers",
        marker={"size": 24, "opacity": 0, "symbol": "square"},
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    side = max(22.0, min(96.0, 1100 / heads, 1500 / layers))  # pixels of a picture
    size = {"width": round(heads * side) + 90, "height": round(layers * side * height / width) + 100}
    styled(figure, title={"text": sentence(title)} if title else None, margin={"l": 60, "r": 30, "t": 50, "b": 50})
    figure.update_layout(**size)
    axis = {"showgrid": False, "zeroline": False, "dtick": 1, "constrain": "domain"}
    figure.update_xaxes(title="head", range=[-0.5, heads - 0.5], constraintoward="left", **axis)
    return figure.update_yaxes(
        title="layer", range=[layers - 0.5, -0.5], scaleanchor="x", scaleratio=height / width, constraintoward="top",
        **axis,
    )  # fmt: skip


def png_uri(picture: "np.ndarray") -> str:
    """A (height, width) picture of places in the palette as a PNG data address in the house colours."""
    from PIL import Image

    image = Image.fromarray(picture, mode=None).convert("P")
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _mosaic(thumbnails: "np.ndarray", gap: int) -> "np.ndarray":
    import numpy as np

    shade = np.round(np.sqrt(np.arange(256) / 255) * (_GAP - 1)).astype(np.uint8)
    around = (gap // 2, gap - gap // 2)
    padded = np.pad(shade[thumbnails], ((0, 0), (0, 0), around, around), constant_values=_GAP)
    layers, heads, height, width = padded.shape
    return np.ascontiguousarray(padded.transpose(0, 2, 1, 3).reshape(layers * height, heads * width))


def _palette() -> bytes:
    from plotly.colors import sample_colorscale, unlabel_rgb

    scale = [f"rgb{colour}" for colour in BLUES]
    colors = [unlabel_rgb(color) for color in sample_colorscale(scale, [i / (_GAP - 1) for i in range(_GAP)])]
    return bytes(round(channel) for color in [*colors, _BETWEEN] for channel in color)
