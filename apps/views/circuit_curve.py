"""How much of the task circuits of every size carry, beside random circuits of the same sizes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

ENOUGH = 0.8
"""The share of the task from which a circuit is called faithful."""
_OURS, _RANDOM, _OTHER = "#2f7fc4", "#8a919e", "#d9822b"


def curve_figure(
    sizes: Sequence[int],
    kept: Sequence[int],
    faithfulness: Sequence[float],
    random: "np.ndarray",
    *,
    n_edges: int,
    at: int | None = None,
    other: tuple[str, Sequence[int], Sequence[float]] | None = None,
    name: str = "circuit",
    title: str = "",
) -> "go.Figure":
    """Faithfulness against the edges asked for; `random` (draw, size) is a band; `at` is marked.

    `other` is a second curve: its name, sizes and faithfulness.
    """
    import numpy as np
    import plotly.graph_objects as go

    from workbench.plots.text import sentence
    from workbench.plots.theme import styled

    x = np.maximum(np.asarray(sizes, float), 1)
    figure = go.Figure()
    some = np.isfinite(random).any(0) if random.size else np.zeros(len(x), bool)
    if some.any():
        low, high = np.nanmin(random[:, some], 0), np.nanmax(random[:, some], 0)
        figure.add_scatter(
            x=[*x[some], *x[some][::-1]],
            y=[*high, *low[::-1]],
            mode="lines",
            fill="toself",
            fillcolor="rgba(138,145,158,0.28)",
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=x[some],
            y=np.nanmean(random[:, some], 0),
            name="random circuits",
            mode="lines",
            line={"color": _RANDOM, "width": 1.6},
            hovertemplate="random: %{y:.0%}<extra></extra>",
        )
    figure.add_scatter(
        x=x,
        y=list(faithfulness),
        name=sentence(name),
        mode="lines+markers",
        line={"color": _OURS, "width": 2.2},
        customdata=[
            [f"{size:,}", f"{left:,}", f"{size / n_edges:.2%}"] for size, left in zip(sizes, kept, strict=True)
        ],
        hovertemplate="%{customdata[0]} edges asked for (%{customdata[2]}), %{customdata[1]} left after pruning"
        "<br>carry %{y:.1%}<extra></extra>",
    )
    if other is not None:
        figure.add_scatter(
            x=np.maximum(np.asarray(other[1], float), 1),
            y=list(other[2]),
            name=sentence(other[0]),
            mode="lines+markers",
            line={"color": _OTHER, "width": 2},
            hovertemplate="%{x} edges carry %{y:.1%}<extra></extra>",
        )
    figure.add_hline(y=ENOUGH, line={"color": "#c2496b", "width": 1, "dash": "dash"})
    figure.add_annotation(
        x=0, xref="paper", y=ENOUGH, text="80 %", showarrow=False, xanchor="left", yanchor="bottom", font={"size": 10}
    )
    if at is not None:
        figure.add_vline(x=max(at, 1), line={"color": _OTHER, "width": 2})
    figure.update_xaxes(type="log", title="edges asked for", dtick=1)
    figure.update_yaxes(title="of the task", tickformat=".0%")
    styled(figure, title={"text": sentence(title)} if title else None, height=320)
    return figure.update_layout(
        margin={"l": 50, "r": 10, "t": 48 if title else 34, "b": 40},
        legend={"orientation": "h", "y": -0.32, "yanchor": "top", "x": 0, "title": None},  # above are plotly's buttons
    )
