"""Answers before and after something was taken away, as pairs of bars."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.analyses.interventions.ablate import Ablation

_MOST = 14  # answers drawn; the table has all


def before_and_after(found: "Ablation") -> "go.Figure":
    """Probabilities before and after, the likeliest of either on top."""
    import plotly.graph_objects as go

    from apps.text import visible
    from workbench.plots.text import plain
    from workbench.plots.theme import styled

    frame = found.to_frame().head(_MOST).iloc[::-1]
    places = list(range(len(frame)))
    figure = go.Figure()
    series = (("after", "#d9822b"), ("before", "#5b8fbf"))
    for column, colour in series if found.interventions else series[1:]:
        figure.add_bar(
            x=frame[column].tolist(),
            y=places,
            orientation="h",
            name=column,
            marker_color=colour,
            customdata=frame[f"rank_{column}"].tolist(),
            hovertemplate=f"{column} %{{x:.4f}}, rank %{{customdata}}<extra></extra>",
        )
    styled(
        figure,
        height=110 + 28 * len(frame),
        margin={"l": 90, "r": 10, "t": 10, "b": 40},
        barmode="group",
        bargap=0.25,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "reversed"},
    )
    figure.update_yaxes(
        tickmode="array", tickvals=places, ticktext=[plain(visible(text), limit=16) for text in frame["answer"]]
    )
    return figure.update_xaxes(title="probability", rangemode="tozero")
