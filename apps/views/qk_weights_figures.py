"""One head's weights in figures: its product as a heat map, its singular values, its eigenvalues; and all layers."""

from typing import TYPE_CHECKING

from apps.views.qk_weights import SHORT
from workbench.analyses.embedding.qk_weights import PRODUCTS
from workbench.plots import sentence
from workbench.plots.theme import CYCLE, DIVERGING, styled

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

    from workbench.analyses.embedding.qk_weights import QKWeights

_HIGH, _LOW = 350, 280  # pixels


def product_figure(picture: "np.ndarray", d_model: int) -> "go.Figure":
    """A product, each pixel the mean of a block of entries; the scale leaves the largest half per cent out."""
    import numpy as np
    import plotly.graph_objects as go

    most = float(np.percentile(np.abs(picture), 99.5)) or 1.0
    n = len(picture)
    at = [(d_model * i // n + d_model * (i + 1) // n - 1) / 2 for i in range(n)]
    heat = go.Heatmap(
        z=np.round(picture.astype(np.float64), 7).tolist(),
        x=at,
        y=at,
        zmin=-most,
        zmax=most,
        colorscale=DIVERGING,
        hovertemplate="from dimension %{y:.0f}<br>to dimension %{x:.0f}<br>%{z:.3g}<extra></extra>",
        colorbar={"thickness": 12, "outlinewidth": 0},
    )
    figure = styled(go.Figure(heat), height=_HIGH, margin={"l": 40, "r": 8, "t": 8, "b": 40})
    figure.update_xaxes(title="dimension of the stream", constrain="domain", showgrid=False)
    return figure.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain", showgrid=False)


def spectrum_figure(found: "QKWeights", layer: int, head: int) -> "go.Figure":
    """Singular values of a head as shares of the largest, with the median head behind them."""
    import plotly.graph_objects as go

    frame, figure = found.spectrum_frame(layer, head), go.Figure()
    for (product, name), colour in zip(PRODUCTS.items(), CYCLE, strict=False):
        for of, dash, label in (("median", "dot", "median head"), ("head", "solid", "")):
            rows = frame[(frame["product"] == name) & (frame["of"] == of)]
            figure.add_scatter(
                x=rows["number"].tolist(),
                y=rows["value"].tolist(),
                mode="lines",
                line={"color": colour, "dash": dash, "width": 1.5 if dash == "dot" else 2.5},
                name=sentence(f"{SHORT[product]} {label}".strip()),
                showlegend=of == "head",
            )
    _beside(figure)
    figure.update_xaxes(title="singular value")
    return figure.update_yaxes(rangemode="tozero")


def eigenvalue_figure(found: "QKWeights", layer: int, head: int) -> "go.Figure":
    """Eigenvalues of a head in the plane, as shares of the largest: right is for itself, left against itself."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, (product, colour) in enumerate(zip(PRODUCTS, CYCLE, strict=False)):
        values = found.eigenvalues[layer, head, i]
        largest = float(values.norm(dim=-1).max())
        shares = values / (largest or 1.0)
        figure.add_scatter(
            x=shares[:, 0].tolist(),
            y=shares[:, 1].tolist(),
            mode="markers",
            marker={"color": colour, "size": 6, "opacity": 0.8},
            name=sentence(SHORT[product]),
            hovertemplate="%{x:.2f} + %{y:.2f} i",
        )
    _beside(figure)
    figure.update_xaxes(title="real", range=[-1.08, 1.08], zeroline=True, zerolinewidth=2)
    return figure.update_yaxes(title="imaginary", range=[-1.08, 1.08])


def layers_figure(found: "QKWeights") -> "go.Figure":
    """Closeness to the identity by layer: the mean of the heads, and all heads of a layer added up."""
    import plotly.graph_objects as go

    layers = list(range(len(found.scores)))
    lines = [(f"{SHORT[p]}, mean of heads", found.score(f"{p}_identity").nanmean(1)) for p in PRODUCTS]
    lines.append((f"{SHORT['vo']} of the whole layer, cosine", found.layer_cosine))
    figure = go.Figure()
    for (name, values), colour in zip(lines, (CYCLE[0], CYCLE[1], CYCLE[2]), strict=True):
        figure.add_scatter(
            x=layers, y=values.tolist(), mode="lines+markers", line={"color": colour}, name=sentence(name)
        )
    _beside(figure)
    figure.update_layout(height=_LOW)
    figure.update_xaxes(title="layer", dtick=1 if len(layers) <= 16 else None)
    return figure.update_yaxes(zeroline=True, zerolinewidth=2)


def _beside(figure: "go.Figure") -> None:
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left", "font": {"size": 12}}
    styled(figure, height=_HIGH, legend=legend, showlegend=True, margin={"l": 44, "r": 8, "t": 36, "b": 40})
