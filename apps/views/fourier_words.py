"""What the Fourier page says in sentences: what a run costs, what stands out, how far a circle is one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.analyses.fourier.plane import FourierPlane
    from workbench.analyses.fourier.spectrum_result import FourierSpectrum
    from workbench.models.lens_model import LensModel
    from workbench.variables import Variable


def cost_said(variable: "Variable", model: "LensModel") -> str:
    """How many values there are, and what looking at them costs."""
    n = len(variable)
    layers = f"{model.n_blocks} layer{'s' * (model.n_blocks != 1)}"
    ends = f"{n} values, {variable.labels[0]} to {variable.labels[-1]}"
    if variable.of_positions:
        return f"{ends}: means over 16 texts of random tokens in {layers}, and 200 random orders."
    return f"{ends}: {n} forward passes through {layers}, and 200 random orders of the values."


def headline(found: "FourierSpectrum") -> str:
    """How many places show a frequency above chance, and where most."""
    largest = found.shares[:, 1:].nan_to_num(-1).amax(-1)
    above = largest > found.null
    count, places = int(above.sum()), len(found.places)
    name = f"{found.variable}, {len(found.values)} values"
    if not count:
        return f"{name}: in none of {places} places is a frequency above chance"
    best = int((largest - found.null).nan_to_num(-1).argmax())
    k = int(found.strongest[best, 0])
    return (
        f"{name}: above chance in {count} of {places} places, most at {found.places[best]}, "
        f"{found.period(k):.3g} {found.unit} a turn"
    )


def circle_said(plane: "FourierPlane") -> str:
    """Share and roundness beside the same values in random orders."""
    draws = len(plane.random_share)
    if plane.share.isnan():
        return "All values are the same here: there is no plane."
    share, roundness = plane.chances
    low, high = plane.random_roundness.nanquantile(0.05).item(), plane.random_roundness.nanquantile(0.95).item()
    said = f"Of {draws} random orders {share:.1%} reach this share (at this frequency)"
    if plane.frequency * 2 == len(plane.values):
        return f"{said}. Two values a turn lie on a line: the plane has one direction."
    if roundness != roundness:
        return f"{said}. It has no power, and no roundness."
    return f"{said}, and {roundness:.1%} this roundness, which is {low:.2f} to {high:.2f} in 90 % of them."
