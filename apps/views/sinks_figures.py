"""Figures of sinks and massive activations: curves over layers on a scale of factors, and tokens by dimensions."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.analyses.extremes.attention_sinks import AttentionSinks
    from workbench.analyses.extremes.massive_activations import MassiveActivations

_RULE, _CHOSEN, _GREY = "#c2496b", "#d9822b", "#8a919e"
_BELOW: dict[str, Any] = {"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0, "title": None}
_HIGH = 400  # pixels


def layers_figure(found: "MassiveActivations", layer: int) -> "go.Figure":
    """The largest three numbers and the median after each layer, the rule's two thresholds dashed."""
    from workbench import plots

    frame = found.curve_frame()
    figure = plots.lines(frame, x="layer", y="size", color="number")
    median = frame[frame["number"] == "median"]
    figure.add_scatter(
        x=median["layer"].tolist(),
        y=[found.ratio * size for size in median["size"]],
        name=f"{found.ratio:g} × median",
        mode="lines",
        line={"color": _RULE, "width": 1.5, "dash": "dash"},
        hovertemplate="%{y:.4g}",
    )
    figure.add_scatter(
        x=[median["layer"].min(), median["layer"].max()],
        y=[found.absolute] * 2,
        name=f"{found.absolute:g}",
        mode="lines",
        line={"color": _RULE, "width": 1.5, "dash": "dot"},
        hovertemplate="%{y:.4g}",
    )
    figure.add_vline(x=layer, line={"color": _CHOSEN, "width": 2})
    figure.update_yaxes(type="log", title="size of a number", dtick=1)
    figure.update_xaxes(title="after layer", **_whole(len(found.median)))
    return figure.update_layout(height=_HIGH, legend=_BELOW, margin={"t": 12})


def picture_figure(found: "MassiveActivations", layer: int) -> "go.Figure":
    """The tokens by the dimensions that stand out, coloured by size on a scale of factors that all layers share.

    What is massive is written into its cell.
    """
    from workbench import plots

    massive = {(pos, dim) for at, pos, dim in found.massive.tolist() if at == layer}
    frame = found.picture_frame(layer)
    low, high = _ends(found)
    sizes = frame["value"].abs().clip(lower=10.0**low)
    frame = frame.assign(size=[math.log10(size) for size in sizes], **{"times the median": frame["ratio"]})
    figure = plots.heatmap(
        frame, x="place", y="pos", value="size", x_labels="dimension", y_labels="token",
        hover=("value", "times the median"), limits=(low, high), y_down=True,
    )  # fmt: skip
    cells = zip(frame["pos"], frame["dimension"], frame["value"], strict=True)
    written = [f"{value:.0f}" if (pos, int(dim)) in massive else "" for pos, dim, value in cells]
    width = len(found.dimensions)
    figure.update_traces(text=[written[i : i + width] for i in range(0, len(written), width)], texttemplate="%{text}")
    ticks = list(range(math.ceil(low), math.floor(high) + 1))
    bar = {"title": {"text": "size"}, "tickvals": ticks, "ticktext": [f"{10.0**tick:g}" for tick in ticks]}
    figure.update_traces(colorbar=bar, hovertemplate="%{customdata}<extra></extra>")
    figure.update_xaxes(title="dimension")
    figure.update_yaxes(title=None)
    layout: Any = figure.layout
    return figure.update_layout(height=max(320, layout.height or 0), width=None, margin={"t": 12})


def _ends(found: "MassiveActivations") -> tuple[float, float]:
    """The scale of colours: from a typical median to the largest number, at least two factors of ten."""
    medians = found.median[found.median > 0]
    low = math.floor(math.log10(medians.median().item())) if len(medians) else -3
    most = found.picture.abs().max().item()
    high = math.log10(most) if math.isfinite(most) and most > 0 else low
    return low, max(high, low + 2)


def values_figure(found: "AttentionSinks", layer: int, head: int) -> "go.Figure":
    """How long the token's value is beside the others', in every head: points, their median, and the chosen head."""
    import plotly.graph_objects as go

    from workbench.plots.theme import styled

    ratio = found.value_ratio[..., found.position]
    layers, heads = ratio.shape
    figure = go.Figure()
    figure.add_scatter(
        x=[i for i in range(layers) for _ in range(heads)],
        y=ratio.flatten().tolist(),
        mode="markers",
        name="each head",
        marker={"size": 5, "color": _GREY, "opacity": 0.6},
        text=[f"head {h}" for _ in range(layers) for h in range(heads)],
        hovertemplate="layer %{x}, %{text}: %{y:.3g}<extra></extra>",
    )
    figure.add_scatter(
        x=list(range(layers)),
        y=ratio.nanmedian(1).values.tolist(),
        mode="lines",
        name="median",
        hovertemplate="layer %{x}: median %{y:.3g}<extra></extra>",
    )
    kv = head // (found.mass.shape[1] // found.n_kv_heads)
    figure.add_scatter(
        x=[layer],
        y=[ratio[layer, kv].item()],
        mode="markers",
        name=f"head {layer}.{head}",
        marker={"size": 11, "color": _CHOSEN},
        hovertemplate="%{y:.3g}<extra></extra>",
    )
    styled(figure)
    return _factors(figure, "value, times the others", "layer", layers)


def states_figure(found: "AttentionSinks", layer: int) -> "go.Figure":
    """How long the stream is at the token, times the median of the others, from the embeddings to the last layer."""
    import pandas as pd

    from workbench import plots

    frame = pd.DataFrame(
        {"state": range(len(found.state_ratio)), "ratio": found.state_ratio[:, found.position].tolist()}
    )
    figure = plots.lines(frame, x="state", y="ratio")
    figure.add_vline(x=layer, line={"color": _CHOSEN, "width": 2})
    return _factors(figure, "state, times the others", "state (0 enters the first layer)", len(frame))


def _whole(count: int) -> dict[str, Any]:
    """Ticks at whole numbers only."""
    return {"tickformat": "d", "dtick": max(1, math.ceil(count / 12))}


def _factors(figure: "go.Figure", y: str, x: str, count: int) -> "go.Figure":
    figure.add_hline(y=1, line={"color": _GREY, "width": 1, "dash": "dash"})
    figure.update_yaxes(type="log", title=y)
    figure.update_xaxes(title=x, **_whole(count))
    return figure.update_layout(height=320, legend=_BELOW, margin={"t": 12})


def keys_figure(found: "AttentionSinks", layer: int, head: int, *, most: int = 40) -> "go.Figure":
    """What each key draws in one head, the keys that draw most where there are many; dashes: looking at all alike."""
    from workbench import plots

    frame = found.masses_frame(layer, head)
    frame = frame.sort_values("mass", ascending=False, na_position="last").head(most).sort_values("key")
    figure = plots.bars(frame, x="key", y="mass", x_labels="token")
    figure.add_scatter(
        x=list(range(len(frame))),
        y=frame["chance"].tolist(),
        mode="lines",
        line={"color": _GREY, "dash": "dash", "width": 1.5},
        name="all alike",
        hovertemplate="all alike: %{y:.3f}<extra></extra>",
    )
    figure.update_yaxes(range=[0, 1], title="attention it draws")
    figure.update_xaxes(title=None)
    return figure.update_layout(height=300, showlegend=False, margin={"t": 12})


def changes_figure(frame: "pd.DataFrame", asked: str) -> "go.Figure":
    """The rise of the loss (or how far answers move) by condition, random draws as one bar; the asked one coloured."""
    from workbench import plots

    measure = "rise" if sum(frame["predicted"]) else "kl"
    says = "rise of the loss (nats a token)" if measure == "rise" else "KL of the answers (nats)"
    rows: Any = frame.iloc[1:].groupby("condition", sort=False, as_index=False)[measure].mean()
    rows = rows.rename(columns={measure: says})
    rows = rows.assign(which=["chosen" if name == f"massive: {asked}" else "others" for name in rows["condition"]])
    figure = plots.bars(rows, x="condition", y=says, color="which", horizontal=True, mode="stack")
    colours = {"chosen": _CHOSEN, "others": _GREY}
    figure.for_each_trace(lambda trace: trace.update(marker={"color": colours[str(trace.name)]}))
    figure.update_yaxes(title=None, automargin=True, ticktext=rows["condition"].tolist())
    return figure.update_layout(height=260, showlegend=False, margin={"t": 12})
