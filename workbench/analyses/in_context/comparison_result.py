"""The result of holding a predictor against algorithms."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, plots
from workbench.errors import BadInput, UnknownName
from workbench.functional import Interval
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MEASURES = {
    "distance": "mean squared difference of the answers",
    "weights": "mean squared distance of the implied weights",
    "sensitivity": "mean length of the difference of the sensitivities to the query",
    "cosine": "mean cosine of the sensitivities to the query",
}
"""How far a predictor is from an algorithm; of the cosine more is nearer."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AlgorithmComparison(Result, kind="algorithm-comparison"):
    """How near a predictor's answers, sensitivities and implied weights are to those of each algorithm."""

    algorithms: tuple[str, ...]
    distance: Float[Tensor, "algorithm problem"]
    """Squared difference of the answers; its mean is the SPD of Akyürek et al. (2023)."""
    weights: Float[Tensor, "algorithm problem"]
    """Squared distance of the implied weights; its mean is their ILWD."""
    sensitivity: Float[Tensor, "algorithm problem"]
    """Length of the difference of the answers' derivatives by the query."""
    cosine: Float[Tensor, "algorithm problem"]
    """Cosine of these derivatives; NaN where one of them is zero."""
    explained: Float[Tensor, "problem"]
    """Share of the predictor's answers to fresh queries that its implied weights explain."""
    square: float
    """Mean square of the predictor's answers: what a distance may be measured by."""
    loss: Float[Tensor, "algorithm_and_predictor problem"] | None
    """Squared errors, those of the predictor last; None where the right answers are not given."""
    level: float
    """Share of the resamples that an interval holds."""
    resamples: int
    seed: int

    def interval(self, measure: str) -> Interval:
        """The mean of a measure over problems for each algorithm, with what drawing the problems again would give."""
        values = self._values(measure)
        return functional.bootstrap_interval(values, level=self.level, resamples=self.resamples, seed=self.seed)

    def closest(self, measure: str = "distance") -> str:
        """The algorithm nearest to the predictor by one measure."""
        return self.algorithms[self._order(measure)[0]]

    def lead(self, measure: str = "distance") -> Interval:
        """How much nearer the closest algorithm is than the next; an interval that holds 0 leaves it open.

        Of one algorithm alone there is no next: that is refused.
        """
        values, order = self._values(measure), self._order(measure)
        if len(order) < 2:
            raise BadInput(
                f"{self.algorithms[0]} is the only algorithm, so that none is next to it: compare with two or more."
            )
        first, second = values[order[0]], values[order[1]]
        nearer = (first, second) if measure == "cosine" else (second, first)
        return functional.bootstrap_difference(*nearer, level=self.level, resamples=self.resamples, seed=self.seed)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each algorithm and measure, with its interval over problems; of losses also the predictor's."""
        import pandas as pd

        rows = []
        for measure in (*MEASURES, *(("loss",) if self.loss is not None else ())):
            names = (*self.algorithms, "the predictor") if measure == "loss" else self.algorithms
            found = self.interval(measure)
            for at, name in enumerate(names):
                numbers = {end: float(getattr(found, end)[at]) for end in ("value", "low", "high")}
                rows.append({"algorithm": name, "measure": measure, **numbers, "problems": int(found.count[at])})
        return pd.DataFrame(rows)

    def figure(self, measure: str = "distance") -> "go.Figure":
        """One measure for each algorithm, with intervals over problems; the closest named in the title."""
        self._values(measure)
        frame = self.to_frame()
        rows: Any = frame[frame["measure"] == measure]
        length, value = MEASURES.get(measure, "mean squared error"), rows["value"]
        title = "Errors" if measure == "loss" else f"Closest: {self.closest(measure)}"
        figure = plots.bars(rows.assign(**{length: value}), x="algorithm", y=length, title=title)
        ends = {"array": rows["high"] - value, "arrayminus": value - rows["low"]}
        return figure.update_traces(error_y={"type": "data", **ends})

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The closest algorithm by each measure, and whether the next is further beyond the chance of the problems."""
        said = []
        for measure, what in MEASURES.items():
            if len(self.algorithms) == 1:
                break
            lead = self.lead(measure)
            sure = "" if float(lead.low) > 0 else " (not beyond chance)"
            said.append(f"Closest by {what}: {self.closest(measure)}{sure}.")
        said.append(f"Implied weights explain {float(self.explained.mean()):.3f} of the answers to fresh queries.")
        return " ".join(said), self.to_frame()

    def _values(self, measure: str) -> Tensor:
        if measure == "loss" and self.loss is not None:
            return self.loss
        if measure not in MEASURES:
            raise UnknownName("measure", measure, [*MEASURES, *(("loss",) if self.loss is not None else ())])
        return getattr(self, measure)

    def _order(self, measure: str) -> list[int]:
        if measure == "loss":
            raise UnknownName("measure of nearness", measure, list(MEASURES))
        means = self._values(measure).nanmean(-1)
        far = (-means if measure == "cosine" else means).nan_to_num(torch.inf)
        return far.argsort(stable=True).tolist()
