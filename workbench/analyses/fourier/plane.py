"""Fourier plane: one frequency of a variable at one place, each value a point on what may be a circle."""

from dataclasses import dataclass
from itertools import count
from math import gcd
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, plots
from workbench.errors import MissingCapability
from workbench.functional.spectra import DEAD
from workbench.models.lens_model import LensModel
from workbench.registry import Seed, VariableName, Within, analysis
from workbench.results import Result
from workbench.variables import Variable, embedding_rows, states, unembedding_rows, variable as variable_of
from workbench.variables.texts import Read

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_LABELS = 40  # points that have their names beside them


@dataclass(frozen=True, eq=False, kw_only=True)
class FourierPlane(Result, kind="fourier-plane"):
    """The values in the plane of one frequency at one place, beside the same values in random orders."""

    coordinates: Float[Tensor, "value axis"]
    """Each value along the direction of the cos, and along what is left of that of the sin."""
    power: Float[Tensor, ""]
    """Squared length of the frequency."""
    share: Float[Tensor, ""]
    """Power over all power of the place, the constant left out; NaN where all values are the same."""
    held: Float[Tensor, ""]
    """Share of the squared distance from the mean that lies in the plane: no less than `share`."""
    roundness: Float[Tensor, ""]
    """Smaller over larger length of the cos and sin part: 1 is a circle, 0 a line."""
    random_share: Float[Tensor, "draw"]
    """The share of this frequency with the values in random order."""
    random_roundness: Float[Tensor, "draw"]
    place: str
    frequency: int
    period: float
    """In the variable's unit."""
    unit: str
    values: tuple[str, ...]
    variable: str
    cyclic: bool
    detrended: bool

    @property
    def chances(self) -> tuple[float, float]:
        """Share of the random orders that reach this share, and this roundness; NaN where these are undefined."""
        return _reached(self.random_share, self.share), _reached(self.random_roundness, self.roundness)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each value: where it lies in the plane."""
        import pandas as pd

        x, y = self.coordinates.T.tolist()
        return pd.DataFrame({"value": list(self.values), "cos": x, "sin": y})

    def figure(self) -> "go.Figure":
        """The plane, a unit as long across as up; where they are few a thin line follows the values in order."""
        frame = self.to_frame()
        figure = plots.scatter(
            frame,
            x="cos",
            y="sin",
            label="value",
            title=f"{self.place}, {self.period:.4g} {self.unit} a turn",
            same_scale=True,
        )
        n = len(self.values)
        if n > _LABELS:
            # Steps that share no factor with n name values all around the circle, whatever the frequency.
            every = next(step for step in count(2 * n // _LABELS) if gcd(step, n) == 1)
            texts = [plots.plain(text) if i % every == 0 else "" for i, text in enumerate(self.values)]
            return figure.update_traces(text=texts, marker_size=6)
        order = [*range(n), *([0] if self.cyclic else [])]
        figure.add_scatter(
            x=[frame["cos"][i] for i in order],
            y=[frame["sin"][i] for i in order],
            mode="lines",
            line={"width": 1, "color": "rgba(128, 134, 150, 0.55)"},
            hoverinfo="skip",
        )
        figure.data = figure.data[::-1]
        return figure

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How much of the place the frequency is, and how round, beside random orders."""
        share, roundness = self.chances
        said = (
            f"{self.place}, {self.period:.4g} {self.unit} a turn: share {self.share:.3f} ({share:.1%} of"
            f" {len(self.random_share)} random orders reach it), roundness {self.roundness:.2f} ({roundness:.1%} reach"
            f" it); the plane holds {self.held:.1%} of the distances from the mean."
        )
        return said, self.to_frame()


@analysis("fourier-plane", needs={"text", "resid"})
@torch.no_grad()
def fourier_plane(
    model: LensModel,
    variable: Annotated[VariableName, "What is ordered"],
    *,
    place: Annotated[
        str, "embed, unembed, or a site that has a row for each token, as in 'blocks.3.mlp_out'"
    ] = "embed",
    frequency: Annotated[int, Within(1, 2048), "Whole cycles over all values"] = 1,
    template: Annotated[str, "Text in which each value stands, at {}, as in 'The day after {} is'"] = "{}",
    read: Annotated[
        Read, "Where states are read: the value's last token, or the last token (or mask) of all"
    ] = "value",
    detrend: Annotated[bool, "Take off the straight line along the values first"] = False,
    draws: Annotated[int, Within(20, 10000), "Random orders of the values, for the null"] = 200,
    seed: Annotated[Seed, "Seed of the random orders, and of the tokens at which positions are read"] = 0,
) -> FourierPlane:
    """Where each value lies in the plane in which a place turns at one frequency, and how far that is a circle.

    As in `fourier-spectrum`, for any one frequency. The null is the same frequency of the same values in random orders:
    their shares, and their roundness, which is high in many dimensions whatever the order. A value v of n on a perfect
    circle of frequency k is at the angle 2 pi k v / n. One forward pass a value, none for embed and unembed.
    """
    found = variable_of(variable, model)
    raw = _table(model, found, place, template, read, seed).double().cpu()
    used = functional.detrended(raw) if detrend else raw
    plane = functional.frequency_plane(used, frequency)
    spectrum = functional.power_spectrum(used, dim=0).sum(-1)
    whole = spectrum.sum()
    random = functional.shuffled_planes(raw, frequency, draws, seed=seed, detrend=detrend)
    return FourierPlane(
        coordinates=plane.coordinates,
        power=spectrum[frequency],
        share=spectrum[frequency] / whole.masked_fill(whole < DEAD**2, torch.nan),
        held=torch.tensor(plane.held, dtype=torch.float64),
        roundness=torch.tensor(plane.roundness, dtype=torch.float64),
        random_share=random.share,
        random_roundness=random.roundness,
        place=place,
        frequency=frequency,
        period=found.period(frequency),
        unit=found.unit,
        values=found.labels,
        variable=found.name,
        cyclic=found.cyclic,
        detrended=detrend,
    )


def _reached(random: Tensor, own: Tensor) -> float:
    return float("nan") if own.isnan() else (random >= own).double().mean().item()


def _table(
    model: LensModel, variable: Variable, place: str, template: str, read: Read, seed: int
) -> Float[Tensor, "value width"]:
    tables = {"embed": embedding_rows, "unembed": unembedding_rows}
    if place not in tables:
        return states(model, variable, [place], template=template, read=read, seed=seed)[place]
    table = tables[place](model, variable.tokens())
    if table is None:
        raise MissingCapability(f"{model.name} has no unembedding. Choose embed, or a site such as resid_post.")
    return table
