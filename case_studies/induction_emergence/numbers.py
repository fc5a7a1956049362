"""When things happen in a training, from what was measured at its steps."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from case_studies.induction_emergence.train import TrainConfig

BEFORE = 200
"""A step at which tokens are told apart from those that never come, and nothing is looked up yet."""
WINDOW = 100
"""Steps over which the steepest fall is taken."""
FOLLOWED = {
    "loss": "loss",
    "in_context": "in_context",
    "prefix_matching": "prefix_matching_all.1",
    "copying": "eigenvalues.1",
    "previous_token": "previous_token.0.sum",
}
"""What is timed: its name in claims, and its column of the history."""


def with_sums(history: pd.DataFrame) -> pd.DataFrame:
    """The history with the attention on the previous token of all heads of the first layer together."""
    heads = [f"previous_token.0.{head}" for head in range(TrainConfig().n_heads)]
    return history.assign(**{"previous_token.0.sum": history[heads].sum(axis=1)})


def halfway(steps: np.ndarray, values: np.ndarray) -> float:
    """The step at which a quantity is halfway from where it is at step `BEFORE` to where it ends; NaN if it never is.

    The first crossing from that step on, between two measured steps in a straight line.
    """
    late = steps >= BEFORE
    steps, values = steps[late], values[late]
    middle = (values[0] + values[-1]) / 2
    beyond = (values > middle) == (values[-1] > middle)
    if beyond[0] or not beyond.any():
        return math.nan
    after = int(beyond.argmax())
    share = (middle - values[after - 1]) / (values[after] - values[after - 1])
    return float(steps[after - 1] + share * (steps[after] - steps[after - 1]))


def steepest_fall(steps: np.ndarray, values: np.ndarray) -> float:
    """The most that a quantity falls within `WINDOW` steps from step `BEFORE` on."""
    pairs = [
        (values[i] - values[j])
        for i in range(len(steps))
        for j in range(i, len(steps))
        if steps[i] >= BEFORE and steps[j] - steps[i] <= WINDOW
    ]
    return float(max(pairs))


def timing_numbers(rows: pd.DataFrame) -> dict[str, float]:
    """When each followed quantity is halfway in one training, how far that is from the loss, and how steep it falls."""
    rows = rows.sort_values("step")
    steps = rows["step"].to_numpy()
    at = {name: halfway(steps, rows[column].to_numpy()) for name, column in FOLLOWED.items()}
    return {
        **{f"halfway.{name}": step for name, step in at.items()},
        **{f"apart.{name}": abs(step - at["loss"]) for name, step in at.items() if name != "loss"},
        "steepest_fall": steepest_fall(steps, rows["loss"].to_numpy()),
        "prefix_matching.highest": float(np.nanmax(rows.filter(regex=r"^prefix_matching_all\.\d+$").to_numpy())),
    }


def by_quantity(found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> dict[str, dict[int, float]]:
    """Each quantity with its value for each seed."""
    return {
        f"{group}.{name}": {seed: each[name] for seed, each in seeds.items()}
        for group, seeds in found.items()
        for name in next(iter(seeds.values()))
    }
