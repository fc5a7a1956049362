"""How well circles, the value and a helix are found in each layer, in both directions, beside random orders."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench import Result, plots

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

SEARCHED = "searched period"


@dataclass(frozen=True, eq=False, kw_only=True)
class FourierProbe(Result, kind="fourier-probe"):
    """Held-out R^2 of circles, value and helix in each layer, in both directions, beside values in random order."""

    r2: Float[Tensor, "state feature way"]
    """1 less the squared error on held-out values over that of guessing the mean of the others; can be below 0. NaN
    where the states of all values are the same."""
    p: Float[Tensor, "state feature way"]
    """Share of random orders of the values that do at least as well, the own order counted with them."""
    p_any: Float[Tensor, "state feature way"]
    """The same against the best layer of each random order: for who looks at all layers."""
    chance: Float[Tensor, "state feature way"]
    """What one in twenty random orders exceeds."""
    found: Float[Tensor, "state part"]
    """The period chosen without each part of the values; no parts where periods were given, NaN where states are all
    the same."""
    features: tuple[str, ...]
    """Each period, the value itself, and the helix of all of them."""
    ways: tuple[str, ...]
    """"read": the feature from states; "fit": the states from the feature."""
    states: tuple[str, ...]
    layers: tuple[str, ...]
    """What stands before each state: "embed", then the layer's number."""
    variable: str
    said: str
    """What the variable is, in a sentence or two."""
    unit: str
    n_values: int
    draws: int

    @property
    def chosen(self) -> tuple[str, ...]:
        """For each state the period that most parts chose, and how many did; empty where periods were given."""
        rows = [[round(period, 6) for period in row if period == period] for row in self.found.tolist()]
        best = [Counter(row).most_common(1) for row in rows]
        return tuple(f"{one[0][0]:g} in {one[0][1]} of {self.found.shape[1]}" if one else "" for one in best)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each layer, feature and way."""
        import pandas as pd

        index = pd.MultiIndex.from_product([self.layers, self.features, self.ways], names=["layer", "feature", "way"])
        frame = index.to_frame(index=False)
        for name in ("r2", "chance", "p", "p_any"):
            frame[name] = getattr(self, name).flatten().double().numpy()
        chosen = dict(zip(self.layers, self.chosen, strict=True))
        frame["chosen"] = [
            chosen[layer] if feature == SEARCHED else ""
            for layer, feature in zip(frame["layer"], frame["feature"], strict=True)
        ]
        return frame.assign(values=np.where(frame["r2"].isna(), 0, self.n_values))

    def figure(self, *, way: Literal["read", "fit"] = "read") -> "go.Figure":
        """Held-out R^2 of each feature against depth; what is worse than guessing by far is drawn at the edge."""
        frame = self.to_frame()
        rows = frame.assign(**{"held-out R^2": frame["r2"]}).query("way == @way")
        figure = plots.lines(rows, x="layer", y="held-out R^2", color="feature")
        lowest = min(-0.1, rows["held-out R^2"].min())
        return figure.update_yaxes(range=[max(-1.0, lowest) - 0.05, 1.05])

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The best layer of each feature and way."""
        frame = self.to_frame()
        best = frame.dropna().sort_values("r2", ascending=False, kind="stable").drop_duplicates(["feature", "way"])
        return f"{self.said} The layer that holds each feature best:", best.sort_index().reset_index(drop=True)
