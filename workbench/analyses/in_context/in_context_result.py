"""The result of holding a text model's next-token distributions against in-context predictors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

SHOWN = ("distance", "divergence", "heads", "exchange")
FEWEST = 3
"""Exchanges below which there is nothing to correlate."""
ALIKE = 1e-6
"""Spread of changes that is the rounding of equal ones."""


@dataclass(frozen=True, eq=False, kw_only=True)
class InContextAlgorithms(Result, kind="in-context-algorithms"):
    """How near a model's predictions are to counting n-grams in its own context, and which heads look there."""

    tokens: tuple[str, ...]
    predictors: tuple[str, ...]
    """uniform, unigram, bigram, ... , each n-gram backing off where its context is new; last the chain's own."""
    distance: Float[Tensor, "predictor pos"]
    """Total variation distance of the model's next-token distribution from the predictor's, 0 to 1."""
    divergence: Float[Tensor, "predictor pos"]
    """KL(predictor || model) in nats; NaN where the model gives a predicted token no probability at all."""
    matches: Int[Tensor, "predictor pos"]
    """Earlier places that a predictor of order n counts; 0 where it backs off."""
    attention: str
    orders: tuple[int, ...]
    """The n of the n-gram scores of heads."""
    scores: Float[Tensor, "order layer head"]
    """Mean attention to tokens that follow the same n - 1 tokens as now, over queries with a match; NaN if none."""
    chance: Float[Tensor, "order"]
    """What a head that looks at all visible positions alike would score."""
    queries: Int[Tensor, "order"]
    """Queries with a match."""
    position: int
    """Where answers are read when a token is exchanged."""
    exchanged: Int[Tensor, "changed"]
    """Positions of the tokens that were exchanged, one at a time."""
    instead: tuple[str, ...]
    model_change: Float[Tensor, "changed"]
    """Total variation distance of the model's distributions at `position` before and after."""
    predictor_change: Float[Tensor, "predictor changed"]
    """The same of each predictor's."""

    @property
    def closest(self) -> tuple[str, ...]:
        """At each position the predictor at the least distance; of several that agree the simplest."""
        return tuple(self.predictors[at] for at in self.distance.argmin(0).tolist())

    @property
    def agreement(self) -> Float[Tensor, "predictor"]:
        """Correlation over exchanged tokens of the model's change with a predictor's; NaN where one never changes."""
        return torch.stack([_correlation(self.model_change, row) for row in self.predictor_change])

    def to_frame(self) -> "pd.DataFrame":
        """One row for each predictor and position."""
        import pandas as pd

        n = len(self.tokens)
        return pd.DataFrame(
            {
                "predictor": [name for name in self.predictors for _ in range(n)],
                "pos": list(range(n)) * len(self.predictors),
                "token": list(self.tokens) * len(self.predictors),
                "distance": self.distance.flatten().tolist(),
                "divergence": self.divergence.flatten().tolist(),
                "matches": self.matches.flatten().tolist(),
                "closest": [bool(name == best) for name in self.predictors for best in self.closest],
                "defined": (~self.divergence.isnan()).int().flatten().tolist(),
            }
        )

    def heads_frame(self) -> "pd.DataFrame":
        """One row for each n, layer and head; `queries` is 0 where no query has a match."""
        import pandas as pd

        index = pd.MultiIndex.from_product([self.orders, *map(range, self.scores.shape[1:])])
        per = self.scores[0].numel()
        return index.to_frame(index=False, name=["n", "layer", "head"]).assign(
            score=self.scores.flatten().tolist(),
            chance=self.chance.repeat_interleave(per).tolist(),
            queries=self.queries.repeat_interleave(per).tolist(),
        )

    def summary_frame(self) -> "pd.DataFrame":
        """One row for each predictor: mean distance, positions where it is closest, agreement of what exchanges do."""
        import pandas as pd

        agreement = self.agreement
        return pd.DataFrame(
            {
                "predictor": self.predictors,
                "distance": self.distance.mean(-1).tolist(),
                "divergence": self.divergence.nanmean(-1).tolist(),
                "closest_at": [self.closest.count(name) for name in self.predictors],
                "agreement": agreement.tolist(),
                "changes": [0 if bool(value.isnan()) else len(self.exchanged) for value in agreement],
            }
        )

    def exchange_frame(self) -> "pd.DataFrame":
        """One row for the model and each predictor, and each exchanged token: how far the answer moved."""
        import pandas as pd

        names = ("the model", *self.predictors)
        moved = torch.cat([self.model_change[None], self.predictor_change])
        at = self.exchanged.tolist()
        return pd.DataFrame(
            {
                "who": [name for name in names for _ in at],
                "pos": at * len(names),
                "token": [self.tokens[i] for i in at] * len(names),
                "instead": list(self.instead) * len(names),
                "change": moved.flatten().tolist(),
            }
        )

    def figure(self, of: Literal["distance", "divergence", "heads", "exchange"] = "distance") -> "go.Figure":
        """Distance (or divergence) from each predictor by position; n-gram scores of heads; what exchanges change."""
        if of == "heads":
            frame = self.heads_frame()
            frame["n, layer"] = [f"n={n}, {layer}" for n, layer in zip(frame["n"], frame["layer"], strict=True)]
            title = "Attention to what followed the same n - 1 tokens"
            return plots.heatmap(
                frame, x="head", y="n, layer", value="score", hover=("chance", "queries"), limits=(0, 1), title=title
            )
        if of == "exchange":
            title = f"Change of the answer at {self.position} when one token is exchanged"
            return plots.lines(self.exchange_frame(), x="pos", y="change", color="who", x_labels="token", title=title)
        title = {"distance": "Distance of the model from in-context predictors"}.get(of, "KL(predictor || model), nats")
        return plots.lines(self.to_frame(), x="pos", y=of, color="predictor", x_labels="token", title=title)

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """Which predictor is closest over all positions, the best n-gram head of each order, and the predictors."""
        means = self.distance.mean(-1)
        said = [f"Closest over {len(self.tokens)} positions: {self.predictors[int(means.argmin())]}"]
        said[0] += f" (mean total variation distance {float(means.min()):.2f})."
        for n, scores, chance in zip(self.orders, self.scores, self.chance.tolist(), strict=True):
            if not scores.isnan().any():
                layer, head = divmod(int(scores.argmax()), scores.shape[1])
                said.append(f"Most of an n={n} head: {layer}.{head}, {float(scores.max()):.2f} (chance {chance:.2f}).")
        return " ".join([*said, *self._no_agreement()]), self.summary_frame()

    def _no_agreement(self) -> list[str]:
        """Why the agreement of some predictors is undefined; nothing where it is not."""
        if (count := len(self.exchanged)) < FEWEST:
            return [f"Agreement is undefined: it takes {FEWEST} exchanged tokens, not {count}."]
        if float(self.model_change.std()) < ALIKE:
            return ["Agreement is undefined: every exchange changes the model's answer alike, or not at all."]
        names = [name for name, value in zip(self.predictors, self.agreement, strict=True) if bool(value.isnan())]
        why = "which every exchange changes alike, or not at all"
        return [f"Agreement is undefined of predictors {why}: {', '.join(names)}."] if names else []


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, NaN where there is nothing to correlate."""
    if len(a) < FEWEST or min(float(a.std()), float(b.std())) < ALIKE:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return functional.pearson(a, b).double()
