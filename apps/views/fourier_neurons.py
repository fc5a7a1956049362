"""Neurons by frequency in words and as a table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.analyses.fourier.neuron_spectrum import NeuronSpectrum


def thin_ticks(figure: "go.Figure", count: int) -> "go.Figure":
    """At most a dozen names below `count` bars, which are numbered from 1."""
    every = -(-count // 12)
    at = list(range(every - 1, count, every))
    if every > 1:
        figure.update_xaxes(tickmode="array", tickvals=at, ticktext=[str(i + 1) for i in at], tickangle=0)
    return figure


def neurons_said(found: "NeuronSpectrum") -> str:
    """How many neurons one frequency explains, beside the same in random order."""
    above, others, dead = found.counts
    shuffled = int((found.shuffled > found.threshold).sum())
    said = (
        f"{found.site}: {above:,} of {above + others:,} living neurons have more than {found.threshold:.0%} of their "
        f"variance in one frequency, {shuffled:,} in random order"
    )
    return f"{said}; {dead:,} are dead" if dead else said


def neurons_frame(found: "NeuronSpectrum") -> "pd.DataFrame":
    """One row for each neuron, those that one frequency explains best first."""
    frame = found.to_frame().sort_values("share", ascending=False, na_position="last", kind="stable")
    names = ["neuron", "frequency", "period", "share", "shuffled", "ipr", "norm"]
    return frame.loc[:, names].reset_index(drop=True)
