"""What is found about a direction that carries a task: effects beside random directions, by layer, and when held."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import plots
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class CausalDirection(Result, kind="causal-direction"):
    """A direction of the stream where the answer is read, found on one half of a task's pairs, measured on the other.

    Effects are shares of the gap between the clean and the corrupted prompts' metric: 0 changes nothing, 1 is all.
    """

    task: str
    said: str
    """How many examples of the task could be used."""
    metric: str
    method: str
    layer: int
    """The direction is of the stream after this block."""
    direction: Float[Tensor, "d_model"]
    """Of length one; the positive side has the larger mean of u . h."""
    sides: tuple[str, str]
    """What the positive and the negative side are: two answers, or clean and corrupted prompts."""
    train: int
    """Pairs on which the direction (and the layer, where none was named) was chosen."""
    pairs: int
    """Other pairs, on which everything below is measured."""
    clean: float
    """Mean of the metric over their clean prompts, in the metric's unit."""
    corrupted: float
    counted: int
    """Pairs in the shares: 0 where clean and corrupted have the same mean, so that no share is defined."""
    exchanged: tuple[str, ...]
    """What was exchanged between the prompts of a pair: the direction, others, random ones, the whole vector."""
    effects: Float[Tensor, "kind way"]
    """Share of the gap carried: into corrupted prompts (denoising), into clean ones (noising)."""
    crossed: Float[Tensor, "kind"]
    """Share of runs, both ways, that come nearer to the partner's metric than to their own; of pairs with a gap."""
    with_gap: int
    """Pairs whose clean prompt has the higher metric."""
    separations: Float[Tensor, "kind"]
    """How well u . h tells the two sides apart (AUROC); NaN for the whole vector."""
    projections: Float[Tensor, "run pair"]
    """u . h of the clean and of the corrupted prompts, in units of the stream."""
    positive: Bool[Tensor, "pair"]
    """Whether the clean prompt is on the positive side."""
    layers: Int[Tensor, "layer"]
    """Layers that were tried."""
    profile: Float[Tensor, "layer what way"]
    """Effects by layer: of its difference of means (or random direction), and of the whole vector."""
    profile_separation: Float[Tensor, "layer"]
    values: Float[Tensor, "value"]
    """What the direction was held at, in units of the stream."""
    steered: Float[Tensor, "side value"]
    """Mean metric, with the positive side's answer as the target, of prompts of either side held at each value."""
    kl: Float[Tensor, "value"]
    """Mean KL(as it is || held) of the answers to neutral sentences, in nats; NaN without any."""
    neutral: int
    """Neutral sentences that the model can read."""
    losses: Float[Tensor, "step"]
    """Of the search, before each step and after the last; empty where there is none."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each thing that was exchanged."""
        import pandas as pd

        whole = [kind == "whole vector" for kind in self.exchanged]
        return pd.DataFrame(
            {
                "layer": self.layer,
                "exchanged": self.exchanged,
                "denoising": self.effects[:, 0].tolist(),
                "noising": self.effects[:, 1].tolist(),
                "carried": self.effects.mean(1).tolist(),
                "crossed": self.crossed.tolist(),
                "separation": self.separations.tolist(),
                "pairs": self.counted,
                "pairs_with_gap": self.with_gap,
                "directions": [0 if one else 1 for one in whole],
            }
        )

    def profile_frame(self) -> "pd.DataFrame":
        """One row for each layer and thing that was exchanged."""
        import pandas as pd

        first = "random" if self.method == "random" else "difference-of-means"
        rows = [
            {
                "layer": layer,
                "exchanged": name,
                "denoising": effects[0],
                "noising": effects[1],
                "carried": sum(effects) / 2,
                "separation": separation if name == first else float("nan"),
                "pairs": self.counted,
                "directions": int(name == first),
            }
            for layer, both, separation in zip(
                self.layers.tolist(), self.profile.tolist(), self.profile_separation.tolist(), strict=True
            )
            for name, effects in zip((first, "whole vector"), both, strict=True)
        ]
        return pd.DataFrame(rows)

    def steering_frame(self) -> "pd.DataFrame":
        """One row for each value that the direction was held at and side of the prompts."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"value": value, "prompts": side, "metric": metric, "kl": kl, "sentences": self.neutral}
                for side, row in zip(self.sides, self.steered.tolist(), strict=True)
                for value, metric, kl in zip(self.values.tolist(), row, self.kl.tolist(), strict=True)
            ]
        )

    @property
    def random(self) -> tuple[float, float]:
        """Mean and standard deviation over random directions of the share carried both ways."""
        rows = [i for i, kind in enumerate(self.exchanged) if kind.startswith("random ")]
        carried = self.effects[rows].mean(1)
        return carried.mean().item(), carried.std().item() if len(rows) > 1 else 0.0

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """What carries how much, with the random directions in one row."""
        frame = self.to_frame()
        carried, separation = frame["carried"][0], frame["separation"][0]
        mean, sd = self.random
        said = (
            f"{self.said} After block {self.layer} the direction ({self.method}, from {self.train} pairs) carries"
            f" {carried:.2f} of the gap on {self.pairs} other pairs, {self.sides[0]} against {self.sides[1]};"
            f" random directions {mean:.3f} ± {sd:.3f}. It tells the sides apart with an AUROC of {separation:.2f}."
        )
        return said, frame

    def figure(self) -> "go.Figure":
        """The share of the gap that each thing carries, into either prompt."""
        tidy = self.to_frame().melt("exchanged", ["denoising", "noising"], var_name="way", value_name="share of gap")
        return plots.bars(tidy, x="exchanged", y="share of gap", color="way", horizontal=True)

    def profile_figure(self) -> "go.Figure":
        """The share of the gap carried after each block."""
        tidy = self.profile_frame().rename(columns={"carried": "share of gap"})
        return plots.lines(tidy, x="layer", y="share of gap", color="exchanged")

    def steering_figure(self) -> "go.Figure":
        """The metric of prompts of either side against the value that the direction is held at."""
        return plots.lines(self.steering_frame(), x="value", y="metric", color="prompts")
