"""What is measured of networks of our own and of trained models: residuals by depth, and paths by their length."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import workbench
from case_studies.rank_collapse.nets import KINDS, Kind, Run, run
from workbench import functional

FLOOR = 1e-13
"""Relative residuals below this are not used for exponents: rounding is 1e-15."""
SHARPNESS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
Found = dict[str, float]


def residuals(kind: Kind, seed: int) -> Tensor:
    """Relative residual (Frobenius) before the first layer and after each."""
    return functional.rank_residual(torch.stack(run(kind, seed).states)).relative


def kinds_table(seeds: Sequence[int]) -> pd.DataFrame:
    """One row for each network, seed and depth."""
    return pd.DataFrame(
        {"network": name, "seed": seed, "depth": depth, "residual": value}
        for name, kind in KINDS.items()
        for seed in seeds
        for depth, value in enumerate(residuals(kind, seed).tolist())
    )


def sharpness_table(seeds: Sequence[int]) -> pd.DataFrame:
    """Attention alone, its logits multiplied by a factor: one row for each factor, seed and depth."""
    rows = []
    for factor in SHARPNESS:
        for seed in seeds:
            found = run(Kind(sharpness=factor), seed)
            first = float(functional.attention_entropy(found.patterns[0]).mean())
            for depth, state in enumerate(found.states):
                value = float(functional.rank_residual(state).relative)
                rows.append({"sharpness": factor, "seed": seed, "depth": depth, "residual": value, "entropy": first})
    return pd.DataFrame(rows)


def exponent(curve: Tensor) -> float:
    """The last exponent ln r[l + 1] / ln r[l] before rounding: where constants matter least."""
    found, count = functional.collapse_exponents(curve, FLOOR)
    return float(found[found.isfinite()][-1]) if count else float("nan")


def paths_table(seeds: Sequence[int], layers: int = 6) -> pd.DataFrame:
    """Attention with skip connections by the length of its paths: one row for each seed and length.

    `share` is the part of what tells positions apart at the end (the output without its mean, along itself) that comes
    along paths of that length; all lengths have 1. `residual` is the relative residual of what those paths write
    together, `lacks` what the sum over all paths lacks of the output, relative.
    """
    rows = []
    for seed in seeds:
        found = run(Kind(skip=True), seed, layers)
        sums = functional.path_length_sums(found.states[0], found.patterns, found.maps)
        end = found.states[-1]
        lacks = float((sums.sum(0) - end).norm() / end.norm())
        for length, share in enumerate(shares(sums, end)):
            residual = float(functional.rank_residual(sums[length]).relative)
            rows.append({"seed": seed, "length": length, "share": share, "residual": residual, "lacks": lacks})
    return pd.DataFrame(rows)


def shares(sums: Tensor, end: Tensor) -> list[float]:
    """The part of each length in the differences between positions at the end."""
    apart = end - end.mean(0)
    return [float(((one - one.mean(0)) * apart).sum() / apart.square().sum()) for one in sums]


def enumerated_gap(found: Run) -> float:
    """What all paths, one by one, lack of the output, relative."""
    every = functional.path_outputs(found.states[0], found.patterns, found.maps)
    assert every.exact, "few layers have few paths"
    return float((every.outputs.sum(0) - found.states[-1]).norm() / found.states[-1].norm())


def untrained(model: workbench.LensModel, seed: int = 0) -> workbench.LensModel:
    """The same architecture with random weights, as it would start to be trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module: Any = type(model.module)(model.module.config)
    name = f"{model.name}, untrained"
    return workbench.adapt(module.float().eval(), model.processor, model.family, name=name)


def collapse_table(model: workbench.LensModel, texts: Sequence[str], name: str) -> pd.DataFrame:
    """The relative residual of a model's runs, with and without skip connections and MLPs."""
    found = workbench.rank_collapse_texts(model, list(texts), inputs=len(texts))
    frame = found.to_frame()
    wanted = frame["measure"].isin(["relative residual", "attention entropy"])
    return frame.loc[wanted].assign(model=name)


def curve(frame: pd.DataFrame, variant: str, attention: str = "recomputed") -> list[float]:
    """The median relative residual of one run at each depth."""
    attention = "recomputed" if variant == "full" else attention
    chosen = (frame["variant"] == variant) & (frame["attention"] == attention)
    return frame.loc[chosen & (frame["measure"] == "relative residual"), "value"].tolist()


def lengths_of(model: workbench.LensModel, texts: Sequence[str], name: str) -> Iterator[dict]:
    """What paths of each length add to the top answer's logit: one row for each text, kind of source and length."""
    for number, text in enumerate(texts):
        found = workbench.path_decomposition(model, text, draws=0)
        for row in found.lengths_frame().to_dict("records"):
            yield {"model": name, "text": number, "logit": found.score, "lacks": abs(found.rounding), **row}


def reversed_gap(found: Run) -> float:
    """The same with patterns in the order P^1 P^2 ... P^L, as in the paper's code: not the network's paths."""
    turned = functional.path_outputs(found.states[0], found.patterns.flip(0), found.maps)
    return float((turned.outputs.sum(0) - found.states[-1]).norm() / found.states[-1].norm())
