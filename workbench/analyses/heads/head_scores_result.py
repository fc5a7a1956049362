"""What `head_scores` gives: scores of every head beside chance, and the classes that thresholds put heads in."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import plots
from workbench.errors import BadInput, UnknownName
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

SCORES = {
    "prefix_matching": "attention on what came after the last earlier copy of the current token",
    "prefix_matching_all": "attention on what came after any earlier copy of the current token",
    "previous_token": "attention on the token just before",
    "duplicate_token": "attention on earlier copies of the current token",
    "self_token": "attention on the current token itself",
    "first_token": "attention on the first position",
    "entropy": "spread of the attention of a query, in nats",
    "copying": "share that the attended token has of what the head raises, -1 to 1, from the weights",
    "most_copied": "share of tokens that the head raises most of all when it attends to them, from the weights",
    "eigenvalues": "sum of the eigenvalues of the map from tokens to logits over the sum of their sizes, -1 to 1",
    "loss_without": "loss on the repeats without the head less the loss with it, in nats",
}
"""What each score says."""

CLASSES = {
    "induction": "prefix_matching_all",
    "previous token": "previous_token",
    "duplicate token": "duplicate_token",
    "self": "self_token",
    "sink": "first_token",
    "copying": "eigenvalues",
}
"""Class of heads -> the score that must be above the class's threshold."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadScores(Result, kind="head-scores"):
    """Every head by every score."""

    attention: str
    score_names: tuple[str, ...]
    scores: Float[Tensor, "layer head score"]
    """Means over sequences; NaN where a score cannot be had of this model."""
    spread: Float[Tensor, "layer head score"]
    """Standard deviation over sequences; NaN for what the weights alone say, and with one sequence."""
    chance: Float[Tensor, "score"]
    """What even attention would have; of weights, the mean of random ones of the same shape."""
    counts: Int[Tensor, "score"]
    """Queries of a sequence that a score is a mean over; of weights, tokens."""
    thresholds: dict[str, float]
    """Of each class."""
    losses: Float[Tensor, "pos"]
    """Mean loss in nats on the token at each position; NaN at the first, and where the model predicts no next token."""
    n_kv_heads: int
    start: str | None
    """The token put before the blocks; None for nothing."""
    before: int
    """Positions before the first block."""
    period: int
    sequences: int
    notes: tuple[str, ...]
    """What could not be had, and why; what was approximated."""

    def score(self, name: str) -> Float[Tensor, "layer head"]:
        """One score of every head."""
        if name not in self.score_names:
            raise UnknownName("score of a head", name, self.score_names)
        return self.scores[..., self.score_names.index(name)]

    def members(self, thresholds: Mapping[str, float] | None = None) -> dict[str, Bool[Tensor, "layer head"]]:
        """Which heads each class has; "none" has those that are in no other. `thresholds` replace those of the run."""
        asked = {**self.thresholds, **(thresholds or {})}
        if unknown := set(asked) - set(CLASSES):
            raise UnknownName("class of heads", sorted(unknown)[0], CLASSES)
        if unclear := [name for name, value in asked.items() if not isinstance(value, Real) or math.isnan(value)]:
            raise BadInput(f"The threshold of {unclear[0]!r} is a number, not {asked[unclear[0]]!r}.")
        found = {name: self.score(score) > asked[name] for name, score in CLASSES.items()}  # NaN is above nothing
        return {**found, "none": ~torch.stack(list(found.values())).any(0)}

    @property
    def in_context_score(self) -> float:
        """Mean loss on the last whole copy less that on the first, in nats: below 0 where the context helps."""
        first, last = self.losses[self.before + 1 : self.before + self.period], self.losses[-self.period :]
        return (last.mean() - first.mean()).item()

    def to_frame(self) -> "pd.DataFrame":
        """One row for each layer, head and score; what is not known has `counted` 0, and no spread `sequences` 0."""
        import pandas as pd

        layers, heads, n = self.scores.shape
        frame = pd.MultiIndex.from_product([range(layers), range(heads), self.score_names]).to_frame(
            index=False, name=["layer", "head", "score"]
        )
        frame.insert(2, "kv_head", frame["head"] // (heads // self.n_kv_heads))
        counted = self.counts.expand(layers, heads, n).flatten() * ~self.scores.isnan().flatten()
        return frame.assign(
            value=self.scores.flatten().numpy(),
            spread=self.spread.flatten().numpy(),
            chance=self.chance.expand(layers, heads, n).flatten().numpy(),
            counted=counted.numpy(),
            sequences=(~self.spread.isnan().flatten() * self.sequences).numpy(),
        )

    def heads_frame(self, thresholds: Mapping[str, float] | None = None) -> "pd.DataFrame":
        """One row for each head: its classes, and a column for each score."""
        import pandas as pd

        layers, heads, _ = self.scores.shape
        frame = pd.MultiIndex.from_product([range(layers), range(heads)]).to_frame(index=False, name=["layer", "head"])
        members = {name: found.flatten().tolist() for name, found in self.members(thresholds).items()}
        frame["classes"] = [", ".join(name for name in members if members[name][i]) for i in range(len(frame))]
        return frame.assign(**{name: self.score(name).flatten().numpy() for name in self.score_names})

    def figure(self, score: str = "prefix_matching_all") -> "go.Figure":
        """All heads by one score."""
        self.score(score)
        frame = self.to_frame()
        frame = frame.loc[frame["score"] == score]
        limits = None if score in ("entropy", "loss_without") else (0, 1)
        signed = score in ("copying", "eigenvalues")
        return plots.heatmap(
            frame,
            x="head",
            y="layer",
            value="value",
            hover=("kv_head", "spread", "chance"),
            limits=(-1, 1) if signed else limits,
            center=0.0 if signed else None,
            title=f"{score.replace('_', ' ')} on {self.period} random tokens, repeated",
        )

    def losses_frame(self) -> "pd.DataFrame":
        """One row for each position: how often its token has been there before, and the loss on it."""
        import pandas as pd

        at = torch.arange(len(self.losses))
        copy = torch.where(at < self.before, -1, (at - self.before) // self.period)
        return pd.DataFrame({"pos": at.numpy(), "copy": copy.numpy(), "loss": self.losses.numpy()})

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How many heads each class has, what the context is worth, and a row a head."""
        counts = ", ".join(f"{int(found.sum())} {name}" for name, found in self.members().items())
        said = [f"Heads by class: {counts}."]
        if self.in_context_score == self.in_context_score:
            said.append(f"The last copy's loss is {self.in_context_score:+.2f} nats off the first one's.")
        frame = self.heads_frame().sort_values("prefix_matching_all", ascending=False, ignore_index=True)
        return "  \n".join((*said, *self.notes)), frame
