"""The QK matrix as a figure that can be saved: the pictures as on the page, with their names and the legend."""

from typing import TYPE_CHECKING

from apps.views.qk_matrix import Drawn
from apps.views.scatter_pictures import scatter_sheet
from workbench.plots.text import sentence
from workbench.plots.theme import styled

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from apps.views.grid import Layout

_TILE, _GAP = 84, 14  # pixels on paper
_MOST_NAMES = 400  # heads that can be named one by one


def matrix_figure(one: Drawn, layout: "Layout", heads: int, under: list[str], *, title: str) -> "go.Figure":
    """The pictures in their order; `under` is a text below each, layer by layer."""
    import plotly.graph_objects as go

    order, columns = list(layout.order), layout.columns
    rows = -(-len(order) // columns)
    figure = go.Figure()
    for place, i in enumerate(order):
        sheet = scatter_sheet(one.pictures[i : i + 1], one.paint.palette, columns=1)
        figure.add_layout_image(
            source=sheet["url"],
            xref="x",
            yref="y",
            x=place % columns,
            y=place // columns,
            sizex=_TILE / (_TILE + _GAP / 2),
            sizey=_TILE / (_TILE + _GAP),
            layer="below",
        )
    named = len(order) <= _MOST_NAMES
    texts = [f"{i // heads}.{i % heads}" + (f"  {under[i]}" if under[i] else "") for i in order] if named else []
    figure.add_scatter(
        x=[place % columns + _TILE / (_TILE + _GAP / 2) / 2 for place in range(len(texts))],
        y=[place // columns + 1 - _GAP / (_TILE + _GAP) / 2 for place in range(len(texts))],
        text=[sentence(text) for text in texts],
        mode="text",
        textfont={"size": 9},
        showlegend=False,
        hoverinfo="skip",
    )
    _legend(figure, one)
    styled(
        figure,
        title={"text": sentence(title)},
        width=columns * (_TILE + _GAP // 2) + 240,
        height=rows * (_TILE + _GAP) + 96,
        margin={"l": 24, "r": 200, "t": 64, "b": 24},
        legend={"title": {"text": sentence(one.paint.legend["title"])}},
    )
    figure.update_xaxes(range=[0, columns], visible=False)
    return figure.update_yaxes(range=[rows, 0], visible=False)


def _legend(figure: "go.Figure", one: Drawn) -> None:
    legend = one.paint.legend
    for item in legend.get("items", []):
        marker = {"color": item["colour"], "size": 10}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=sentence(item["text"]), marker=marker)
    if bar := legend.get("bar"):
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            showlegend=False,
            marker={
                "color": [0, 1],
                "cmin": 0,
                "cmax": 1,
                "colorscale": [[i / (len(bar) - 1), colour] for i, colour in enumerate(bar)],
                "showscale": True,
                "colorbar": {
                    "title": {"text": sentence(legend["title"])},
                    "tickvals": [0, 1],
                    "ticktext": [sentence(legend["low"]), sentence(legend["high"])],
                    "thickness": 12,
                    "outlinewidth": 0,
                    "len": 240,
                    "lenmode": "pixels",
                    "yanchor": "top",
                    "y": 1,
                },
            },
        )
