"""A circuit over training in pictures: curves over the steps, and which node is in the circuit when."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.analyses.circuits.history_result import CircuitHistory

What = Literal["faithfulness", "size", "overlap"]
_MOST = 60  # nodes of the picture


def step_figure(found: "CircuitHistory", what: What, place: int) -> "go.Figure":
    """The curves of a history, with the chosen step marked."""
    figure = found.figure(of=what)
    figure.add_vline(x=found.steps[place], line={"color": "#d9822b", "width": 2})
    legend = {"orientation": "h", "y": -0.32, "yanchor": "top", "x": 0, "title": None}
    return figure.update_layout(height=420, legend=legend)


def presence_figure(found: "CircuitHistory", place: int) -> "go.Figure":
    """One row for each node that is ever in the circuit, in the order of appearing: when it is in."""
    import plotly.graph_objects as go

    from workbench.plots.theme import styled

    names = found.appearances()["node"].tolist()[:_MOST]
    rows = [found.nodes.index(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=found.present[:, rows].T.int().tolist(),
            x=[f"{step:,}" for step in found.steps],
            y=names,
            colorscale=[[0, "rgba(138,145,158,0.12)"], [1, "#2f7fc4"]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate=f"%{{y}} at {found.unit} %{{x}}<extra></extra>",
        )
    )
    figure.add_vline(x=place, line={"color": "#d9822b", "width": 2})
    figure.update_xaxes(type="category", title=found.unit).update_yaxes(autorange="reversed", type="category", dtick=1)
    return styled(figure, title={"text": "Nodes in the circuit, step by step"}, height=120 + 16 * len(names))
