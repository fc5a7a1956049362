"""What moving states along a fitted circle or line does to the answers, and what the controls do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import Result, plots

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class FourierSteering(Result, kind="fourier-steering"):
    """How far moving states along a feature takes the answers to those of the values moved to, beside controls."""

    carried: Float[Tensor, "arm step value"]
    """How far the answers go: their change over the variable's tokens, along the change that the other value makes, as
    a share of it. 0: nothing, 1: all the way. NaN where there is no value to move to, or it is answered alike."""
    answers: Int[Tensor, "arm step value"]
    """The number of the value answered after the move, by the largest logit."""
    before: Int[Tensor, "value"]
    """The number of the value answered without it."""
    targets: Int[Tensor, "step value"]
    """The number of the value moved to; -1 where there is none."""
    wanted: Int[Tensor, "step value"]
    """What the model answers to the value moved to; -1 where there is none."""
    sizes: Float[Tensor, "step value"]
    """Length of the change, over that of the state; the same in all arms but the whole state."""
    arms: tuple[str, ...]
    """The feature; the whole state of the other value; random planes; the feature fitted to values in random order."""
    by: tuple[int, ...]
    """Steps moved."""
    values: tuple[str, ...]
    """The values moved."""
    labels: tuple[str, ...]
    """All values of the variable, which answers are among."""
    layer: int
    stream: str
    """Whether states are moved "after" that block or "before" it."""
    feature: str
    period: float
    explained: float
    """Share of the variance of the values' states that lies in the plane, or along the line, that they are moved in."""
    said: str

    @property
    def arm_kinds(self) -> tuple[str, ...]:
        """Each arm without its number."""
        return tuple(arm.rstrip("0123456789").rstrip() for arm in self.arms)

    @property
    def follows(self) -> Float[Tensor, "arm step"]:
        """Share of the values moved whose answer becomes that of the value moved to; of those where it is another."""
        there = (self.wanted >= 0) & (self.wanted != self.before)
        hits = ((self.answers == self.wanted) & there).sum(-1).double()
        return hits / there.sum(-1).double().masked_fill(there.sum(-1) == 0, torch.nan)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each arm, step and value."""
        import pandas as pd

        names = {"arm": self.arms, "by": self.by, "value": self.values}
        frame = pd.MultiIndex.from_product(list(names.values()), names=list(names)).to_frame(index=False)
        spread = (len(self.arms), len(self.by), len(self.values))

        def labels(numbers: Tensor) -> list[str]:
            return [self.labels[i] if i >= 0 else "" for i in numbers.expand(spread).flatten().tolist()]

        frame["kind"] = np.repeat(self.arm_kinds, len(self.by) * len(self.values)).tolist()
        frame["target"] = labels(self.targets)
        frame["before"] = labels(self.before)
        frame["after"] = labels(self.answers)
        frame["wanted"] = labels(self.wanted)
        frame["carried"] = self.carried.flatten().double().numpy()
        frame["change"] = self.sizes.expand(spread).flatten().double().numpy()
        return frame.assign(counted=frame["carried"].notna().astype(int))

    def means(self) -> "pd.DataFrame":
        """One row for each kind of arm and step: how far answers go, and the share that follow of those that differ."""
        import pandas as pd

        rows = []
        for kind in dict.fromkeys(self.arm_kinds):
            which = [i for i, one in enumerate(self.arm_kinds) if one == kind]
            for at, by in enumerate(self.by):
                carried, differ = self.carried[which, at], (self.wanted[at] >= 0) & (self.wanted[at] != self.before)
                row = {"arm": kind, "by": str(by), "carried": carried.nanmean().item()}
                row |= {"counted": int((~carried.isnan()).sum()), "follows": self.follows[which, at].mean().item()}
                rows.append(row | {"differing": len(which) * int(differ.sum())})
        return pd.DataFrame(rows)

    def figure(self) -> "go.Figure":
        """How far the answers go on the mean, with each arm beside the feature's."""
        return plots.bars(self.means(), x="arm", y="carried", color="by" if len(self.by) > 1 else None)

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """Means over values and arms of a kind."""
        where = "in the plane of the circle" if self.feature == "circle" else "along the line"
        said = f"Moved {self.stream} block {self.layer}; {self.explained:.0%} of the states' variance lies {where}."
        return f"{self.said} {said}", self.means()
