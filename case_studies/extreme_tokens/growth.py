"""Whether the score of the start grows with the logarithm of the number of steps, as the theory says."""

from collections.abc import Sequence

import numpy as np

GROWS_FROM = 100
"""Steps before these first learn the chain."""


def straightness(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope of the best straight line, and the share of the variance of y that it explains."""
    slope, intercept = np.polyfit(x, y, 1)
    left = np.asarray(y) - slope * np.asarray(x) - intercept
    return float(slope), float(1 - left.var() / np.var(y))


def growth_numbers(steps: Sequence[int], gaps: Sequence[float], start: int = GROWS_FROM) -> dict[str, float]:
    """Slope and fit of the gap against the logarithm of the step; the fit against the step itself, to compare."""
    chosen = [(step, gap) for step, gap in zip(steps, gaps, strict=True) if step >= start]
    if len(chosen) < 3:
        return {"growth.slope": float("nan"), "growth.fit": float("nan"), "growth.fit_linear": float("nan")}
    times, values = zip(*chosen, strict=True)
    slope, fit = straightness(np.log(times).tolist(), values)
    return {"growth.slope": slope, "growth.fit": fit, "growth.fit_linear": straightness(times, values)[1]}
