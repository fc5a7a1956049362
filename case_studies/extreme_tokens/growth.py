"""Whether the score of the start grows with the logarithm of the number of steps, as the theory says."""

from collections.abc import Sequence

import numpy as np

GROWS_FROM = 450
"""Steps before these first learn the chain and the rule: until then there is nothing to be dormant from."""


def straightness(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope of the best straight line, and the share of the variance of y that it explains."""
    slope, intercept = np.polyfit(x, y, 1)
    left = np.asarray(y) - slope * np.asarray(x) - intercept
    return float(slope), float(1 - left.var() / np.var(y))


def growth_numbers(steps: Sequence[int], gaps: Sequence[float], start: int = GROWS_FROM) -> dict[str, float]:
    """Slope and fit of the gap against the logarithm of the step, and how much better that is than the step itself."""
    chosen = [(step, gap) for step, gap in zip(steps, gaps, strict=True) if step >= start]
    if len(chosen) < 3:
        return dict.fromkeys(("growth.slope", "growth.fit", "growth_over_linear"), float("nan"))
    times, values = zip(*chosen, strict=True)
    slope, fit = straightness(np.log(times).tolist(), values)
    return {"growth.slope": slope, "growth.fit": fit, "growth_over_linear": fit - straightness(times, values)[1]}
