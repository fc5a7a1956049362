"""The token table as a figure for files: what the screen shows, in the same colours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apps.text import visible
from apps.views.sprite import css
from apps.views.token_table import Column
from apps.views.token_table_colours import palette, shades

if TYPE_CHECKING:
    import plotly.graph_objects as go


def table_figure(
    tokens: Sequence[str], columns: Sequence[Column], check: Column | None, *, step: int, title: str, dark: bool = False
) -> "go.Figure":
    """Tokens by methods after `step`, each column by its own largest score, the check apart at the right."""
    import numpy as np
    import plotly.graph_objects as go

    from workbench.plots.text import plain, sentence
    from workbench.plots.theme import styled

    every = [*columns, *([check] if check else [])]
    values = np.stack([column.values[min(step, len(column.values) - 1)] for column in every], axis=1)
    shade = np.stack([shades(values[:, j]) for j in range(len(every))], axis=1)
    places = [*range(len(columns)), *([len(columns) + 0.25] if check else [])]
    names = [sentence(column.title) for column in every]
    labels = [f"{i} {plain(visible(token), limit=14)}" for i, token in enumerate(tokens)]
    figure = go.Figure()
    for x, j in zip(places, range(len(every)), strict=True):
        figure.add_heatmap(
            z=shade[:, [j]],
            x=[x],
            dx=1,
            y=list(range(len(tokens))),
            zmin=-1,
            zmax=1,
            colorscale=[css(colour) for colour in palette(dark=dark)],
            customdata=values[:, [j]],
            text=[[f"{value:.2g}"] for value in values[:, j]] if len(tokens) <= _WRITTEN else None,
            texttemplate="%{text}" if len(tokens) <= _WRITTEN else None,
            hovertemplate=f"{names[j]} %{{customdata:.4g}}<extra></extra>",
            hoverongaps=False,
            xgap=1,
            ygap=1,
            showscale=False,
        )
    every_nth = -(-len(tokens) // _LABELS)
    heads = [name.replace(" ", "<br>") for name in names]
    figure.update_xaxes(tickmode="array", tickvals=places, ticktext=heads, tickangle=0, side="top")
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(0, len(tokens), every_nth)),
        ticktext=labels[::every_nth],
        autorange="reversed",
        showgrid=False,
        zeroline=False,
    )
    height = 190 + 22 * min(len(tokens), _LABELS)
    return styled(
        figure,
        title={"text": sentence(title), "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 20}},
        height=height,
        width=max(700, 190 + 95 * len(every)),
        margin={"l": 60, "r": 20, "t": 130, "b": 30},
    )


_WRITTEN = 60
"""Tokens up to which the numbers are written in the cells."""
_LABELS = 60
"""Tokens up to which each has its label."""
