"""Neurons by frequency in words and as a table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from workbench.analyses.fourier.neuron_spectrum import NeuronSpectrum


def neurons_said(found: "NeuronSpectrum") -> str:
    """How many neurons one frequency explains, beside the same in random order."""
    above, others, dead = found.counts
    shuffled = int((found.shuffled > found.threshold).sum())
    said = (
        f"{found.site}: {above:,} of {above + others:,} neurons have more than {found.threshold:.0%} of their variance "
        f"in one frequency, {shuffled:,} in random order"
    )
    return f"{said}; {dead:,} are dead" if dead else said


def neurons_frame(found: "NeuronSpectrum") -> "pd.DataFrame":
    """One row for each neuron, those that one frequency explains best first."""
    frame = found.to_frame().sort_values("share", ascending=False, na_position="last", kind="stable")
    names = ["neuron", "frequency", "period", "share", "shuffled", "ipr", "norm"]
    return frame.loc[:, names].reset_index(drop=True)
