"""What the spectrum along the tokens found: how much of what each part writes jumps from token to token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import plots
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

CHANCE = "random order"


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenSpectrum(Result, kind="token-spectrum"):
    """How smooth states and what is added to them are along a prompt, layer by layer."""

    power: Float[Tensor, "place frequency"]
    """Squared length at each frequency along the positions, summed over the width; the mean is taken off."""
    log_amplitude: Float[Tensor, "place frequency"]
    """ln of each frequency's amplitude over that of the constant; NaN where there is nothing."""
    high: Float[Tensor, "place"]
    """Share of the power at high frequencies; NaN where all positions are the same."""
    shuffled: Float[Tensor, "place bound"]
    """5th and 95th percentile of that share when the positions stand in random order."""
    chance: float
    """Its mean over all orders, the same for any states."""
    places: tuple[str, ...]
    """Sites: the stream before the first block and after each, and what attention and MLP add."""
    parts: tuple[str, ...]
    """resid (the stream), attn_out or mlp_out."""
    layers: tuple[str, ...]
    """"embed" or the layer's number."""
    positions: int
    """Positions looked at."""
    skipped: int
    """Positions left out at the start."""
    first_high: int
    """The lowest of the high frequencies, in cycles over the positions."""
    draws: int
    notes: tuple[str, ...]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each place and frequency; `positions` is 0 where there is nothing to tell."""
        import pandas as pd

        frequencies = range(self.power.shape[1])
        index = pd.MultiIndex.from_product([self.places, frequencies], names=["place", "frequency"])
        frame, each = index.to_frame(index=False), len(frequencies)
        there = self.log_amplitude.isfinite() & self.high.isfinite()[:, None]
        return frame.assign(
            part=[part for part in self.parts for _ in frequencies],
            layer=[layer for layer in self.layers for _ in frequencies],
            power=self.power.flatten().numpy(),
            log_amplitude=self.log_amplitude.flatten().numpy(),
            high_share=self.high.repeat_interleave(each).numpy(),
            shuffled_5=self.shuffled[:, 0].repeat_interleave(each).numpy(),
            shuffled_95=self.shuffled[:, 1].repeat_interleave(each).numpy(),
            positions=(there.long() * self.positions).flatten().numpy(),
        )

    def shares_frame(self) -> "pd.DataFrame":
        """One row for each place: its share of high frequencies, and what random orders reach."""
        import pandas as pd

        return pd.DataFrame(
            {
                "place": self.places,
                "part": self.parts,
                "layer": self.layers,
                "high share": self.high.numpy(),
                "5th of random orders": self.shuffled[:, 0].numpy(),
                "95th of random orders": self.shuffled[:, 1].numpy(),
                "positions": (self.high.isfinite().long() * self.positions).numpy(),
            }
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The mean share of high frequencies of each part, and in how many layers it is below and above chance."""
        import pandas as pd

        said = (
            f"Share of the power along {self.positions} positions at {self.first_high} cycles and more; in random order"
            f" it is {self.chance:.3f} on average. Below and above count places outside 90 % of {self.draws} orders."
        )
        rows = []
        for part in dict.fromkeys(self.parts):
            of_part = torch.tensor([name == part for name in self.parts])
            high, (low, top) = self.high[of_part], self.shuffled[of_part].unbind(-1)
            alive = high.isfinite()
            rows.append(
                {
                    "part": part,
                    "high share": float(high.nanmean()),
                    "first": float(high[0]),
                    "last": float(high[-1]),
                    "below": int((high < low)[alive].sum()),
                    "above": int((high > top)[alive].sum()),
                    "places": int(alive.sum()),
                }
            )
        return "\n".join([*self.notes, said]), pd.DataFrame(rows)

    def figure(self) -> "go.Figure":
        """The share of high frequencies against depth, a line for each part, and what random order gives."""
        import pandas as pd

        shares = self.shares_frame()
        stream = shares.loc[shares["part"] == "resid"]
        chance = stream.assign(**{"part": CHANCE, "high share": self.chance})
        frame = pd.concat([shares, chance], ignore_index=True)
        title = f"Power at {self.first_high} cycles or more over {self.positions} positions"
        return plots.lines(frame, x="layer", y="high share", color="part", title=title)

    def spectrum(self, part: str = "attn_out") -> "go.Figure":
        """The log amplitude of every frequency against that of the constant, layer by layer, of one part."""
        from workbench.errors import UnknownName

        if part not in self.parts:
            raise UnknownName("part", part, set(self.parts))
        frame = self.to_frame()
        frame = frame.loc[frame["part"] == part].rename(columns={"log_amplitude": "log amplitude"})
        return plots.heatmap(frame, x="frequency", y="layer", value="log amplitude", center=0, title=part)
