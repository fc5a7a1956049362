"""Progress measures over training in pictures: lines over the steps, and the frequencies at one of them."""

from typing import TYPE_CHECKING, Literal

from apps.views.fourier_measures import number
from apps.views.fourier_neurons import thin_ticks

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.analyses.fourier.progress_result import ProgressHistory

Picture = Literal["loss", "accuracy", "gini", "explained", "weights"]
PICTURES: dict[Picture, str] = {
    "loss": "Losses",
    "accuracy": "Accuracy",
    "explained": "Variance explained",
    "gini": "How few waves",
    "weights": "Size of the weights",
}


def history_figure(found: "ProgressHistory", of: Picture, place: int) -> "go.Figure":
    """The curves over the steps, with the chosen one marked; names below, where they cover nothing."""
    figure = found.figure(of=of)
    figure.for_each_trace(lambda trace: trace.update(name=str(trace.name).replace("_", " ")))
    figure.add_vline(x=found.steps[place], line={"color": "#7a8190", "width": 2, "dash": "dot"})
    legend = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "title": None}
    return figure.update_layout(height=460, legend=legend, title=None, margin={"t": 12})


def step_figure(found: "ProgressHistory", place: int) -> "go.Figure":
    """The share of each frequency of the sum in the logits at one step, key ones in another colour."""
    from workbench import plots

    frame = found.spectrum_frame()
    some = frame.loc[frame["step"] == found.steps[place]].rename(columns={"sums": "share of the variance"})
    figure = plots.bars(some, x="frequency", y="share of the variance", color="key", mode="stack")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None}
    thin_ticks(figure, found.sums.shape[1] - 1)
    return figure.update_layout(height=300, legend=legend, margin={"t": 12})


def at_step(found: "ProgressHistory", place: int) -> str:
    """The losses of one step in a sentence."""
    names = {
        "train_loss": "on the pairs trained on",
        "test_loss": "on the others",
        "restricted_loss": "of the key frequencies alone",
        "excluded_loss": "without them",
    }
    parts = [f"{number(found.value(name)[place].item())} {words}" for name, words in names.items()]
    here = found.key_here[place].nonzero()[:, 0].tolist()
    own = ", ".join(map(str, here)) or "none"
    return f"At {found.unit} {found.steps[place]:,} the loss is {'; '.join(parts)}. Key at this very step: {own}."


def measured_frame(found: "ProgressHistory", place: int) -> "pd.DataFrame":
    """All measures of one step."""
    import pandas as pd

    return pd.DataFrame({"measure": list(found.names), "value": found.measures[place].tolist()})
