"""Two circuits of growing size in pictures: each on each task, and what they share."""

from typing import TYPE_CHECKING

from apps.views.circuit_curve import ENOUGH

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.analyses.circuits.circuit_comparison import CircuitComparison

_FIRST, _SECOND, _RANDOM = "#2f7fc4", "#d9822b", "#8a919e"


def cross_figure(found: "CircuitComparison") -> "go.Figure":
    """Faithfulness of both circuits on both tasks: colour is the circuit, full lines are its own task."""
    import plotly.graph_objects as go

    from workbench.plots.text import sentence

    figure = go.Figure()
    sizes = [max(1, n) for n in found.sizes.tolist()]
    names = [sentence(f"{task}, {method}") for task, method in zip(found.tasks, found.methods, strict=True)]
    if found.tasks[0] != found.tasks[1]:
        names = [sentence(task) for task in found.tasks]
    one_task = found.tasks[0] == found.tasks[1]
    for circuit, colour in enumerate((_FIRST, _SECOND)):
        for task in (0,) if one_task else (0, 1):
            own = one_task or circuit == task
            figure.add_scatter(
                x=sizes,
                y=found.faithfulness[circuit, task].tolist(),
                name=names[circuit] if one_task else f"{names[circuit]} circuit on {names[task]}",
                mode="lines+markers",
                line={"color": colour, "width": 2.2 if own else 1.8, "dash": "solid" if own else "dot"},
                hovertemplate="%{x} edges: %{y:.1%}<extra>%{fullData.name}</extra>",
            )
    figure.add_hline(y=ENOUGH, line={"color": "#c2496b", "width": 1, "dash": "dash"})
    figure.update_yaxes(title="of the task", tickformat=".0%")
    return _dressed(figure, "Each circuit on each task")


def overlap_figure(found: "CircuitComparison") -> "go.Figure":
    """Jaccard of edges and of nodes, beside that of edges with random circuits."""
    import plotly.graph_objects as go

    figure = go.Figure()
    sizes = [max(1, n) for n in found.sizes.tolist()]
    for name, values, colour in (
        ("edges", found.jaccard, _FIRST),
        ("nodes", found.node_jaccard, _SECOND),
        ("edges, with random circuits", found.random_jaccard, _RANDOM),
    ):
        figure.add_scatter(
            x=sizes,
            y=values.tolist(),
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            hovertemplate="%{x} edges: %{y:.2f}<extra>%{fullData.name}</extra>",
        )
    figure.update_yaxes(title="Jaccard", range=[-0.03, 1.03])
    return _dressed(figure, "What they share")


def _dressed(figure: "go.Figure", title: str) -> "go.Figure":
    from workbench.plots.theme import styled

    figure.update_xaxes(type="log", title="edges asked for", dtick=1)
    legend = {"orientation": "h", "y": -0.3, "yanchor": "top", "x": 0, "title": None}
    return styled(figure, title={"text": title}, height=360, legend=legend)
