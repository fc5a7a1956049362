"""A circle or a line fitted to the states of a variable's values, and states moved along it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from probes.fourier_fits import waves

Feature = Literal["circle", "value"]


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedFeature:
    """Directions of the stream that go with a feature of the values, by least squares."""

    directions: Float[np.ndarray, "column d"]
    """What cos and sin (or one unit of the value) add to a state."""
    beside: Float[np.ndarray, "other d"]
    """What is fitted along and left alone: the value itself, beside the circle of a variable that is none."""
    mean: Float[np.ndarray, "d"]
    explained: float
    """Share of the variance of the fitted states that lies in the directions moved along."""

    def turned(self, states: Float[np.ndarray, "row d"], angle: float) -> Float[np.ndarray, "row d"]:
        """What states change by as their angle on the circle grows: a vector in the fitted plane, nothing across it."""
        every = np.concatenate([self.directions, self.beside])
        at = ((states - self.mean) @ np.linalg.pinv(every, rcond=1e-9))[:, :2]
        cos, sin = np.cos(angle), np.sin(angle)
        return (at @ np.array([[cos, sin], [-sin, cos]]) - at) @ self.directions

    def shifted(self, states: Float[np.ndarray, "row d"], by: float) -> Float[np.ndarray, "row d"]:
        """What states change by as the value grows: the same for each."""
        return np.broadcast_to(by * self.directions[0], states.shape)

    @property
    def plane(self) -> Float[np.ndarray, "d column"]:
        """Orthonormal columns that span the directions moved along."""
        return _spanned(self.directions)


def fitted_feature(
    states: Float[np.ndarray, "value d"],
    values: Float[np.ndarray, "value"],
    feature: Feature,
    period: float,
    *,
    with_value: bool,
) -> FittedFeature:
    """The circle of a period, or the line of the value, on which states lie as nearly as they can.

    `with_value`: a circle is fitted along with the value, so that what only grows is not taken for a wave.
    """
    line = (values - values.mean())[:, None]
    circle = waves(values, [period])[:, 0]
    moved, beside = (circle, line[:, : int(with_value)]) if feature == "circle" else (line, circle[:, :0])
    columns = np.concatenate([moved, beside, np.ones_like(line)], 1)
    weights = np.linalg.pinv(columns, rcond=1e-10) @ states
    n_moved = moved.shape[1]
    away = states - states.mean(0)
    whole = np.square(away).sum()
    return FittedFeature(
        directions=weights[:n_moved],
        beside=weights[n_moved:-1],
        mean=weights[-1],
        explained=float(np.square(away @ _spanned(weights[:n_moved])).sum() / whole) if whole else float("nan"),
    )


def _spanned(rows: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "d column"]:
    turned, sizes, _ = np.linalg.svd(rows.T, full_matrices=False)
    return turned[:, sizes > 1e-9 * sizes.max(initial=0.0)]
