"""All layers by all heads as one picture, so that a browser receives one image and not hundreds of charts."""

import base64
import io
from typing import TYPE_CHECKING

from workbench.plots.theme import SEQUENTIAL, styled

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go


def head_grid(thumbnails: "np.ndarray", *, gap: int = 2, title: str = "") -> "go.Figure":
    """One small picture for each layer (row) and head (column), clickable.

    `thumbnails` is (layer, head, query, key), uint8, 255 the strongest; each is drawn with query 0 at the top.
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
    styled(figure, title={"text": title} if title else None)
    figure.update_xaxes(title="head", range=[-0.5, heads - 0.5], showgrid=False, zeroline=False, dtick=1)
    return figure.update_yaxes(
        title="layer", range=[layers - 0.5, -0.5], showgrid=False, zeroline=False, scaleanchor="x",
        scaleratio=height / width, constrain="domain",
    )  # fmt: skip


def png_uri(picture: "np.ndarray") -> str:
    """A (height, width) uint8 picture as a PNG data address in the house colours; value 0 and gaps stay dark."""
    from PIL import Image

    image = Image.fromarray(picture, mode=None).convert("P")
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _mosaic(thumbnails: "np.ndarray", gap: int) -> "np.ndarray":
    import numpy as np

    padded = np.pad(thumbnails, ((0, 0), (0, 0), (gap // 2, gap - gap // 2), (gap // 2, gap - gap // 2)))
    layers, heads, height, width = padded.shape
    return np.ascontiguousarray(padded.transpose(0, 2, 1, 3).reshape(layers * height, heads * width))


def _palette() -> bytes:
    from plotly.colors import sample_colorscale, unlabel_rgb

    colors = sample_colorscale(SEQUENTIAL, [i / 255 for i in range(256)])
    return bytes(round(channel) for color in colors for channel in unlabel_rgb(color))
