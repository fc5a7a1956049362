"""The results of progress measures: of one model, and over the checkpoints of a training run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import plots
from workbench.analyses.fourier.measured import MEASURES
from workbench.errors import UnknownName
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

LOSSES = ("train_loss", "test_loss", "restricted_loss", "excluded_loss", "random_restricted_loss")
SHOWN: dict[str, tuple[str, ...]] = {
    "loss": LOSSES,
    "accuracy": ("train_accuracy", "test_accuracy"),
    "gini": ("embedding_gini", "neuron_logit_gini"),
    "explained": ("explained", "random_explained", "sum_explained"),
    "weights": ("squared_weights",),
}
"""Pictures of a history, and the measures they show."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """What both results have: what was asked, the key frequencies, and the names of the measures."""

    variable: str
    operation: str
    template: str
    n: int
    """Values on each axis; for products one less than the prime, and frequencies are of the discrete logarithm."""
    period: float
    """Period of frequency 1, in the variable's unit; that of frequency k is a k-th of it."""
    key: tuple[int, ...]
    """The key frequencies, the same at every step."""
    chosen: bool
    """Whether they were given; otherwise they have more than `share` of the logits' variance over pairs (in the last
    checkpoint)."""
    share: float
    trained_on: Int[Tensor, ""]
    """Pairs that count as trained on, of n x n."""
    names: tuple[str, ...]
    """The measures, in order."""
    random: Int[Tensor, "draw key"]
    """The frequencies of the control, as many in each draw as are key, and none of them key."""

    def _number(self, name: str) -> int:
        if name not in self.names:
            raise UnknownName("measure", name, self.names)
        return self.names.index(name)


@dataclass(frozen=True, eq=False, kw_only=True)
class ProgressMeasures(Measured, Result, kind="progress-measures"):
    """How far one model's answers to all pairs are a function of the sum, and of few frequencies of it."""

    measures: Float[Tensor, "measure"]
    """In the order of `names`; `value(name)` is one of them."""
    sums: Float[Tensor, "frequency"]
    """Share of the logits' variance over pairs in the two sum directions of each frequency."""
    pairs: Float[Tensor, "frequency_a frequency_b"]
    """Share of it in the products of a wave of the first operand with one of the second; 0 is the constant."""
    embedding: Float[Tensor, "frequency"]
    """Share of each frequency in the embedding of the values."""
    neuron_logits: Float[Tensor, "frequency"]
    """Share of each frequency in the map from the last layer's neurons to the logits; NaN where it is not linear."""

    def value(self, name: str) -> float:
        """One measure, such as "restricted_loss"."""
        return self.measures[self._number(name)].item()

    def to_frame(self) -> "pd.DataFrame":
        """One row for each measure; `counted` is 0 where it is undefined: no such pairs, frequencies or weights."""
        import pandas as pd

        rows = [
            {"measure": name, "value": value, "counted": int(value == value), "what": MEASURES.get(name, "")}
            for name, value in zip(self.names, self.measures.tolist(), strict=True)
        ]
        return pd.DataFrame(rows)

    def spectrum_frame(self) -> "pd.DataFrame":
        """One row for each frequency: its share in the logits, the embedding and the map from neurons to logits."""
        import pandas as pd

        return pd.DataFrame(
            {
                "frequency": list(range(1, len(self.sums))),
                "period": [self.period / k for k in range(1, len(self.sums))],
                "key": ["key" if k in self.key else "other" for k in range(1, len(self.sums))],
                "sums": self.sums[1:].tolist(),
                "embedding": self.embedding[1:].tolist(),
                "neuron_logits": self.neuron_logits[1:].tolist(),
            }
        )

    def pairs_frame(self) -> "pd.DataFrame":
        """One row for each pair of frequencies: its share of the logits' variance over pairs."""
        import pandas as pd

        rows = [
            {"frequency_a": a, "frequency_b": b, "share": value}
            for a, row in enumerate(self.pairs.tolist())
            for b, value in enumerate(row)
        ]
        return pd.DataFrame(rows)

    def figure(self, *, of: Literal["sums", "pairs", "embedding", "neuron_logits"] = "sums") -> "go.Figure":
        """Shares of the frequencies of the sum in the logits; of pairs of frequencies; or in the weights."""
        if of == "pairs":
            figure = plots.heatmap(
                self.pairs_frame(),
                x="frequency_b",
                y="frequency_a",
                value="share",
                limits=(0, max(1e-9, float(self.pairs.nan_to_num(0).max()))),
                square=True,
                y_down=True,
                title=f"{self.variable}, {self.operation}: share of the variance of logits; key frequencies circled",
            )
            ring = {"symbol": "circle-open", "size": 10, "color": "#d9822b"}
            key = list(self.key)
            figure.add_scatter(x=key, y=key, mode="markers", marker=ring, hoverinfo="skip", showlegend=False)
            return figure.update_xaxes(title="frequency of b").update_yaxes(title="frequency of a")
        title = f"{self.variable}, {self.operation}"
        return plots.bars(self.spectrum_frame(), x="frequency", y=of, color="key", mode="stack", title=title)

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The key frequencies and what they explain, and the table of measures."""
        if not self.key:
            text = f"No frequency has more than {self.share:.0%} of the variance of the logits over pairs."
            return text, self.to_frame()
        listed = ", ".join(map(str, self.key))
        text = (
            f"Key frequencies {listed}: {self.value('explained'):.1%} of the variance of the logits over pairs; loss"
            f" {self.value('loss'):.3g}, of these alone {self.value('restricted_loss'):.3g}."
        )
        return text, self.to_frame()


@dataclass(frozen=True, eq=False, kw_only=True)
class ProgressHistory(Measured, Result, kind="progress-history"):
    """The progress measures of the checkpoints of a run, all with the key frequencies of the last (or those given)."""

    steps: tuple[int, ...]
    """In the order of training."""
    unit: str
    """What steps count."""
    measures: Float[Tensor, "step measure"]
    sums: Float[Tensor, "step frequency"]
    """Share of the logits' variance over pairs in the sum directions of each frequency."""
    embedding: Float[Tensor, "step frequency"]
    key_here: Bool[Tensor, "step frequency"]
    """The frequencies that have more than `share` at this very step."""

    def value(self, name: str) -> Float[Tensor, "step"]:
        """One measure over the steps."""
        return self.measures[:, self._number(name)]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each step and measure; `counted` is 0 where it is undefined."""
        import pandas as pd

        rows = [
            {"step": step, "measure": name, "value": value, "counted": int(value == value)}
            for step, values in zip(self.steps, self.measures.tolist(), strict=True)
            for name, value in zip(self.names, values, strict=True)
        ]
        return pd.DataFrame(rows)

    def steps_frame(self) -> "pd.DataFrame":
        """One row for each step, one column for each measure, and the frequencies that are key at this step."""
        import pandas as pd

        frame = pd.DataFrame(self.measures.tolist(), columns=list(self.names))
        frame.insert(0, "step", list(self.steps))
        here = [row.nonzero()[:, 0].tolist() for row in self.key_here]
        frame["key_here"] = [" ".join(map(str, row)) for row in here]
        return frame

    def spectrum_frame(self) -> "pd.DataFrame":
        """One row for each step and frequency: its share in the logits and in the embedding."""
        import pandas as pd

        rows = [
            {
                "step": step,
                "frequency": k,
                "period": self.period / k,
                "key": "key" if k in self.key else "other",
                "sums": self.sums[i, k].item(),
                "embedding": self.embedding[i, k].item(),
            }
            for i, step in enumerate(self.steps)
            for k in range(1, self.sums.shape[1])
        ]
        return pd.DataFrame(rows)

    def figure(self, *, of: Literal["loss", "accuracy", "gini", "explained", "weights"] = "loss") -> "go.Figure":
        """Over the steps: losses (on a scale of factors), accuracies, Gini coefficients, shares, squared weights."""
        tidy = self.steps_frame().melt("step", list(SHOWN[of]), "measure").dropna()
        title = f"{self.variable}, {self.operation}, by {self.unit}"
        figure = plots.lines(tidy, x="step", y="value", color="measure", title=title)
        return figure.update_yaxes(type="log", title="loss (nats)", exponentformat="power") if of == "loss" else figure

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The key frequencies, and the losses step by step."""
        same = f", the same at all {len(self.steps)} {self.unit}s" if len(self.steps) > 1 else ""
        if self.key:
            text = f"Key frequencies {', '.join(map(str, self.key))}{same}."
        else:
            end = f"{self.unit} {max(self.steps)}"
            text = f"No frequency has more than {self.share:.0%} of the variance of the logits over pairs at {end}."
        return text, self.steps_frame().filter(items=["step", *LOSSES, "embedding_gini", "key_here"])
