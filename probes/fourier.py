"""Fourier probe: whether states hold the values of a variable as circles, as a line, or as a helix, layer by layer.

A plugin like any third party's: it uses the public interface of the workbench only.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import workbench
from probes.fourier_fits import WAYS, are_level, checked_periods, held_out, p_values, waves
from workbench import BadInput, LensModel, Result, Seed, Variable, VariableName, Within, analysis, plots, track

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FEWEST = 6
"""Values of which some can be held out and a circle fitted to the others."""
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


@analysis("fourier-probe", needs={"text", "resid"})
def fourier_probe(
    model: LensModel,
    variable: Annotated[VariableName, "Variable whose values are looked for in states"] = "days",
    *,
    templates: Annotated[tuple[str, ...], "Texts with {} in the place of the value; each value is read in all"] = (
        "{}",
    ),
    periods: Annotated[
        tuple[float, ...], "Periods in steps of the variable's own unit; none: one is searched for in each layer"
    ] = (),
    part: Annotated[
        Literal["resid_post", "attn_out", "mlp_out"], "What is read in each layer: the stream, or what is added to it"
    ] = "resid_post",
    read: Annotated[
        Literal["value", "last"], "At the last token of the value, or at the last token of the text"
    ] = "value",
    folds: Annotated[int, Within(2, 50), "Parts that the values are cut into; each is held out once"] = 5,
    penalty: Annotated[
        float, Within(1e-6, 1e6), "Weight of the L2 penalty in reading, on features of unit variance"
    ] = 1.0,
    draws: Annotated[int, Within(19, 9999), "Random orders of the values"] = 99,
    seed: Annotated[Seed, "Seed of the cut and of the random orders"] = 0,
) -> FourierProbe:
    """How well circles, a line or a helix of the values are found in each layer, beside values in random order.

    A circle is cos and sin of 2 pi value / period; a helix is the value and all periods (Kantamneni & Tegmark 2025,
    "Language Models Use Trigonometry to Do Addition"). Two directions, both on values that were held out: "read"
    predicts the feature from states, by ridge regression, "fit" predicts states from the feature, by least squares, as
    a share of the states' variance. Without `periods`, the whole number of cycles over the values that is read best is
    chosen, inside the training values alone, and again in every random order. Values held out lie among the others,
    so a period near the range is found wherever neighbours are alike; where a number is several tokens, the embedding
    of its last token is that of a digit. Cost: a pass for each value and template, and
    fits of `draws` x `folds`, which for hundreds of values searched for a period take minutes.
    """
    values = workbench.variable(variable, model)
    n = len(values)
    if n < max(FEWEST, folds):
        raise BadInput(
            f"{values.name} has {n} values; a probe that holds some out in {folds} parts needs"
            f" {max(FEWEST, folds)} or more."
        )
    asked = checked_periods(periods, n, values.spacing, values.unit)
    stack = next(stack for stack in model.stacks if stack.side == "input")
    sites = model.stream(part, stack.prefix)
    names = tuple(map(str, range(stack.n_blocks)))
    if part == "resid_post":
        sites, names = (model.stream("resid_pre", stack.prefix)[0], *sites), ("embed", *names)
    read_in = _states(model, values, sites, templates, read, seed)
    random = np.random.default_rng(seed)
    parts = random.permutation(np.arange(n) % folds)
    orders = np.stack([np.arange(n), *(random.permutation(n) for _ in range(draws))])
    at = np.array(values.values)
    columns = np.concatenate([at[:, None], waves(at, asked).reshape(n, -1)], 1)
    cycles = [values.period(k) for k in range(1, n // 2 + 1)]
    circles = [f"period {period:g}" for period in asked] or [SEARCHED]
    features = {name: (2 * i + 1, 2 * i + 2) for i, name in enumerate(circles)}
    features |= {"value": (0,), "helix": tuple(range(1 + 2 * len(circles)))}
    candidates = None if asked else waves(at, cycles)
    shape = (len(sites), len(WAYS), len(features), 1 + draws)
    r2, found = np.full(shape, np.nan), np.full((len(sites), 0 if asked else folds), np.nan)
    for number, site in enumerate(track(sites, label="layers")):
        states = read_in[site]
        if not are_level(states):
            one = held_out(states, columns, tuple(features.values()), parts, orders, penalty, candidates)
            r2[number] = one.r2
            if not asked:
                found[number] = np.array(cycles)[one.chosen[:, 0]]
    compared = _compared(r2)
    return FourierProbe(
        r2=compared["r2"],
        p=compared["p"],
        p_any=compared["p_any"],
        chance=compared["chance"],
        found=torch.tensor(found),
        features=tuple(features),
        ways=WAYS,
        states=sites,
        layers=names,
        variable=values.name,
        said=values.said,
        unit=values.unit,
        n_values=n,
        draws=draws,
    )


def _states(
    model: LensModel, values: Variable, sites: tuple[str, ...], templates: tuple[str, ...], read: str, seed: int
) -> dict[str, Float[np.ndarray, "template value d"]]:
    """The states of every value in every template; positions are places, in no template."""
    if not templates:
        raise BadInput("A value is read in a text: give a template with {} in its place, or '{}' for the value alone.")
    each = [
        workbench.variables.states(model, values, sites, template=template, read=read, seed=seed)  # type: ignore
        for template in (templates[:1] if values.of_positions else templates)
    ]
    return {site: torch.stack([one[site] for one in each]).double().numpy() for site in sites}


def _compared(r2: Float[np.ndarray, "state way feature order"]) -> dict[str, Float[Tensor, "state feature way"]]:
    """R^2 of the own order, and how it stands among random ones; NaN where there is none."""
    there = ~np.isnan(r2[..., 0])
    best = np.where(np.isnan(r2[..., 1:]), -np.inf, r2[..., 1:]).max(0)
    found = {
        "r2": r2[..., 0],
        "p": p_values(r2),
        "p_any": p_values(r2, np.broadcast_to(best, r2[..., 1:].shape)),
        "chance": np.quantile(r2[..., 1:], 0.95, axis=-1),
    }
    return {
        name: torch.tensor(np.where(there, numbers, np.nan).swapaxes(1, 2).copy()) for name, numbers in found.items()
    }
