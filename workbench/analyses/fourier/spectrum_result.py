"""What the spectrum of a variable found: power per frequency at each place, and the circles of the strongest."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import plots
from workbench.errors import BadInput, UnknownName
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class FourierSpectrum(Result, kind="fourier-spectrum"):
    """How the values of a variable are laid out at each place: along which frequencies, and how far on circles."""

    power: Float[Tensor, "place frequency"]
    """Squared length at each frequency, 0 to half the number of values, summed over the width; the mean is taken off,
    so that frequency 0 has none."""
    null: Float[Tensor, "place"]
    """What chance alone reaches: the 95th percentile of the largest share when the values stand in random order."""
    trend: Float[Tensor, "place"]
    """Share of the squared distance from the mean that lies on the straight line along the values, as found."""
    strongest: Int[Tensor, "place kept"]
    """The frequencies with the most power, the strongest first."""
    coordinates: Float[Tensor, "place kept value axis"]
    """Each value in the plane of each of these: along its cos, and along what is left of its sin."""
    held: Float[Tensor, "place kept"]
    """Share of the squared distance from the mean that lies in that plane."""
    roundness: Float[Tensor, "place kept"]
    """Smaller over larger length of cos and sin: 1 is a circle, 0 a line."""
    places: tuple[str, ...]
    """Sites, and "embed" and "unembed" for the rows of the two tables of tokens."""
    parts: tuple[str, ...]
    """The part each place is of: embed, unembed, resid_post, attn_out, mlp_out."""
    layers: tuple[str, ...]
    """"embed", "unembed", or the layer's number."""
    values: tuple[str, ...]
    """The values as a person reads them, in order."""
    variable: str
    unit: str
    """What a period is counted in."""
    spacing: float
    """From one value to the next, in that unit."""
    cyclic: bool
    detrended: bool
    draws: int
    notes: tuple[str, ...]
    """Which tokens were taken, and what was left out and why."""

    @property
    def shares(self) -> Float[Tensor, "place frequency"]:
        """Power over all power of the place, the constant left out; NaN where all values are the same."""
        whole = self.power[:, 1:].sum(-1, keepdim=True)
        return self.power / whole.masked_fill(whole == 0, torch.nan)

    def period(self, frequency: int) -> float:
        """How far one cycle reaches, in the variable's unit."""
        return len(self.values) * self.spacing / frequency

    def to_frame(self) -> "pd.DataFrame":
        """One row for each place and frequency; `values` is 0 where all values are the same, and shares are NaN."""
        import pandas as pd

        frequencies = range(1, self.power.shape[1])
        frame = pd.MultiIndex.from_product([self.places, frequencies], names=["place", "frequency"])
        frame = frame.to_frame(index=False)
        each = len(frequencies)
        alive = (self.power.sum(-1) > 0).long() * len(self.values)
        return frame.assign(
            part=[part for part in self.parts for _ in frequencies],
            layer=[layer for layer in self.layers for _ in frequencies],
            period=[self.period(k) for k in frame["frequency"]],
            power=self.power[:, 1:].flatten().numpy(),
            share=self.shares[:, 1:].flatten().numpy(),
            null=self.null.repeat_interleave(each).numpy(),
            values=alive.repeat_interleave(each).numpy(),
        )

    def circles_frame(self) -> "pd.DataFrame":
        """One row for each place, kept frequency and value: where it lies in the plane of that frequency."""
        import pandas as pd

        ranks = range(self.strongest.shape[1])
        index = pd.MultiIndex.from_product([self.places, ranks, self.values], names=["place", "rank", "value"])
        each = len(self.values)
        frame = index.to_frame(index=False).assign(
            frequency=self.strongest.flatten().repeat_interleave(each).numpy(),
            x=self.coordinates[..., 0].flatten().numpy(),
            y=self.coordinates[..., 1].flatten().numpy(),
            held=self.held.flatten().repeat_interleave(each).numpy(),
            roundness=self.roundness.flatten().repeat_interleave(each).numpy(),
        )
        return frame.assign(period=[self.period(k) for k in frame["frequency"]])

    def strongest_frame(self) -> "pd.DataFrame":
        """One row for each part: the place where one frequency is furthest above what chance reaches."""
        import pandas as pd

        largest = self.shares[:, 1:].nan_to_num(-1).amax(-1)
        rows = []
        for part in dict.fromkeys(self.parts):
            of_part = [at for at, name in enumerate(self.parts) if name == part]
            alive = [at for at in of_part if largest[at] >= 0]
            best = max(alive or of_part, key=lambda at: float(largest[at] - self.null[at]))
            k = int(self.strongest[best, 0])
            rows.append(
                {
                    "part": part,
                    "layer": self.layers[best],
                    "frequency": k,
                    "period": f"{self.period(k):.4g} {self.unit}",
                    "share": float(self.shares[best, k]),
                    "null": float(self.null[best]),
                    "held": float(self.held[best, 0]),
                    "roundness": float(self.roundness[best, 0]),
                    "trend": float(self.trend[best]),
                    "above the null": sum(bool(largest[at] > self.null[at]) for at in alive),
                    "places": len(alive),
                }
            )
        return pd.DataFrame(rows)

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The strongest frequency of each part, beside the null."""
        said = (
            f"Where one frequency is furthest above chance in each part; null is the 95th percentile of the largest"
            f" share over {self.draws} random orders of the same values."
        )
        return "\n".join([*self.notes, said]), self.strongest_frame()

    def figure(self) -> "go.Figure":
        """The share of each frequency at each place, part by part; a dot where it is above what chance reaches."""
        order = [at for part in dict.fromkeys(self.parts) for at, name in enumerate(self.parts) if name == part]
        rows = {self.places[at]: row for row, at in enumerate(order)}
        frame = self.to_frame()
        frame["turn"] = [f"{period:.4g}" for period in frame["period"]]
        frame["row"] = [rows[place] for place in frame["place"]]
        figure = plots.heatmap(
            frame.sort_values(["row", "frequency"]),
            x="frequency",
            y="place",
            value="share",
            x_labels="turn",
            hover=("power", "null"),
            y_down=True,
            limits=(0, max(0.01, float(self.shares[:, 1:].nan_to_num(0).max()))),
            title=f"Power of {self.variable} by frequency; dots are above chance",
        )
        above = frame[frame["share"] > frame["null"]]
        figure.add_scatter(
            x=[k - 1 for k in above["frequency"]],
            y=above["row"].tolist(),
            mode="markers",
            marker={"size": 5, "color": "#d9822b"},
            hoverinfo="skip",
            showlegend=False,
        )
        each = 1 if len(order) <= 40 else 3
        shown = list(range(0, len(order), each))
        figure.update_yaxes(tickmode="array", tickvals=shown, ticktext=[self.places[order[row]] for row in shown])
        figure.update_layout(height=150 + len(order) * (18 if each == 1 else 8))
        return figure.update_xaxes(title=f"period in {plots.sentence(self.unit)}, frequency 1 on the left")

    def circle(self, place: str, frequency: int | None = None) -> "go.Figure":
        """The values in the plane of one kept frequency (none: the strongest) at a place."""
        if place not in self.places:
            raise UnknownName("place", place, self.places)
        at = self.places.index(place)
        kept = self.strongest[at].tolist()
        if frequency is not None and frequency not in kept:
            raise BadInput(f"{place} has planes for the frequencies {kept}, not {frequency}. Keep more of them.")
        k = kept[0] if frequency is None else frequency
        frame = self.circles_frame()
        frame = frame.loc[(frame["place"] == place) & (frame["frequency"] == k)].rename(
            columns={"x": "cos", "y": "sin"}
        )
        held, roundness = frame["held"].iloc[0], frame["roundness"].iloc[0]
        title = f"{place}, {self.period(k):.4g} {self.unit} a turn: holds {held:.0%}, roundness {roundness:.2f}"
        return plots.scatter(frame, x="cos", y="sin", label="value", title=title, same_scale=True)
