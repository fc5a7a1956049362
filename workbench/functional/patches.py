"""What an image shows at each patch, as numbers to hold against queries and keys: how bright, which colour, which way.

Circular traits are in turns: 0 and 1 are the same. NaN where a patch has none: grey has no hue, an even patch no
orientation; the counts say how many.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_whole

PATCH_TRAITS = ("row", "column", "brightness", "hue", "saturation", "contrast", "edges", "orientation")
"""Names of the traits, in the order of `PatchTraits.values`."""
CIRCULAR_TRAITS = ("hue", "orientation")
"""Those that come back to where they started."""
LUMA = (0.2126, 0.7152, 0.0722)
"""How bright red, green and blue are: ITU-R BT.709."""
ONE_LEVEL = 1 / 255
"""The smallest step of an 8-bit picture: less colour, or less change along a patch, is none."""
LEAST_COHERENCE = 0.05
"""Below it the gradients of a patch point all ways alike: of the largest possible, which is 1."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchTraits:
    """Traits of each patch, rows first."""

    values: Float[Tensor, "*batch patch trait"]
    """row and column (whole numbers from 0, the top left); brightness (0 to 1, mean luma); hue (turns: red 0, green
    1/3, blue 2/3); saturation (0 to 1, of the mean colour); contrast (standard deviation of luma); edges (mean length
    of the gradient of luma, per pixel); orientation of lines and edges (half turns as turns: level 0, upright 1/2)."""
    undefined: Int[Tensor, "*batch trait"]
    """Patches without this trait."""
    names: tuple[str, ...] = PATCH_TRAITS
    circular: tuple[str, ...] = CIRCULAR_TRAITS


def patch_traits(pixels: Real[Tensor, "*batch channel height width"], rows: int, columns: int) -> PatchTraits:
    """How bright, colourful, even and oriented each patch of a picture is.

    `pixels` are red, green and blue from 0 to 1 (not normalised for a model), `rows` x `columns` patches of equal
    size. Hue and saturation are of the patch's mean colour; hue is the angle in the plane across grey, at most 1.2
    degrees from the hexagon's (HSV). Gradients are taken within the patch, so that neighbours do not show.
    """
    _check(pixels, rows, columns)
    pixels = pixels.to(torch.promote_types(pixels.dtype, torch.float32))
    cut = pixels.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))  # (*batch, channel, row, y, column, x)
    cut = cut.transpose(-3, -2).flatten(-4, -3)  # (*batch, channel, patch, y, x)
    red, green, blue = cut.mean((-2, -1)).unbind(-2)  # (*batch, patch) each
    luma = (cut * cut.new_tensor(LUMA)[:, None, None, None]).sum(-4)  # (*batch, patch, y, x)
    brightness = luma.mean((-2, -1))

    across, along = red - (green + blue) / 2, math.sqrt(3) / 2 * (green - blue)
    hue = _turns(torch.atan2(along, across)).masked_fill(torch.hypot(across, along) < ONE_LEVEL, torch.nan)
    colours = torch.stack([red, green, blue])
    saturation = 1 - colours.amin(0) / colours.amax(0).clamp_min(torch.finfo(colours.dtype).tiny)

    edges, orientation = _gradients(luma)
    number = torch.arange(rows * columns, device=pixels.device)
    values = torch.stack(
        [
            (number // columns).to(luma).expand_as(brightness),
            (number % columns).to(luma).expand_as(brightness),
            brightness,
            hue,
            saturation.where(colours.amax(0) > 0, 0.0),
            (luma - brightness[..., None, None]).square().mean((-2, -1)).sqrt(),
            edges,
            orientation,
        ],
        -1,
    )
    return PatchTraits(values=values, undefined=values.isnan().sum(-2))


def _gradients(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean length of the gradients of each patch, and the way its lines run, from their structure tensor."""
    if min(luma.shape[-2:]) < 2:
        return torch.zeros_like(luma[..., 0, 0]), torch.full_like(luma[..., 0, 0], torch.nan)
    down, right = torch.gradient(luma, dim=(-2, -1))
    xx, yy, xy = ((a * b).mean((-2, -1)) for a, b in ((right, right), (down, down), (right, -down)))
    strength, difference = xx + yy, torch.hypot(xx - yy, 2 * xy)
    none = (strength.sqrt() * min(luma.shape[-2:]) < ONE_LEVEL) | (difference < LEAST_COHERENCE * strength)
    doubled = torch.atan2(2 * xy, xx - yy) + math.pi  # of the gradient, doubled; lines run across it
    return torch.hypot(right, down).mean((-2, -1)), _turns(doubled).masked_fill(none, torch.nan)


def _turns(angle: Tensor) -> Tensor:
    turns = torch.remainder(angle / (2 * math.pi), 1.0)
    return turns.where(turns < 1, 0.0)  # rounding of what is just below 0


def _check(pixels: Tensor, rows: int, columns: int) -> None:
    need_axes("Pixels", pixels, "channel height width")
    need_whole("rows", rows)
    need_whole("columns", columns)
    *_, channels, height, width = pixels.shape
    if channels != 3:
        raise BadInput(f"Traits of patches need red, green and blue, (3, height, width), not {tuple(pixels.shape)}.")
    if min(rows, columns) < 1 or height % rows or width % columns or not height or not width:
        raise BadInput(f"A picture of {height} x {width} pixels cannot be cut into {rows} x {columns} equal patches.")
    if not pixels.numel():
        raise BadInput(f"There is no picture: pixels of shape {tuple(pixels.shape)}.")
    if not (pixels.amin() >= -ONE_LEVEL and pixels.amax() <= 1 + ONE_LEVEL):
        low, high = float(pixels.amin()), float(pixels.amax())
        raise BadInput(
            f"Pixels are from 0 to 1; these go from {low:.3g} to {high:.3g}. Undo the model's normalisation first: "
            "pixels * std + mean."
        )
