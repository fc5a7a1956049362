"""Fourier probe: whether states hold the values of a variable as circles, as a line, or as a helix, layer by layer.

A plugin like any third party's: it uses the public interface of the workbench only.
"""

from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import workbench
from probes.fourier_fits import WAYS, are_level, checked_periods, held_out, p_values, waves
from probes.fourier_probe_result import SEARCHED, FourierProbe
from workbench import BadInput, LensModel, Seed, Variable, VariableName, Within, analysis, track

FEWEST = 6
"""Values of which some can be held out and a circle fitted to the others."""


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
