"""Clouds along the axes on which they spread most (PCA), exactly and the same each time."""

import torch
from torch import Tensor

from workbench import progress
from workbench.functional.neighbours import in_double, power_of_two

BLOCK = 2**19
"""Numbers of clouds in double precision at a time: 4 MiB, which stay in the processor's cache."""


def principal_pictures(clouds: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """`principal_picture` of as many clouds at a time as fit into a block."""
    found = []
    progress.report("PCA", done := 0, len(clouds))
    for block in clouds.split(max(1, BLOCK // clouds[0].numel())):
        exact = in_double(block)
        scale = power_of_two(exact, (-2, -1))
        drawn, share = principal_picture(exact / scale, dims)
        found.append((drawn * scale, share))
        progress.report("PCA", done := done + len(block), len(clouds))
    coordinates, explained = zip(*found, strict=True)
    return torch.cat(coordinates), torch.cat(explained)


def principal_picture(clouds: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Coordinates (cloud, point, dims) along the principal axes, and the share of the variance that they hold.

    Of numbers near one in size: their squares are summed.
    """
    n, d = clouds.shape[-2:]
    mean = clouds.mean(1, keepdim=True)
    taken = n * mean.mT @ mean
    variances, axes = torch.linalg.eigh(clouds.mT @ clouds - taken)  # ascending
    rounding = (variances.amax(-1) + taken.diagonal(0, -2, -1).sum(-1)) * d * torch.finfo(clouds.dtype).eps
    variances = variances.where(variances > rounding[:, None], 0.0).flip(-1)
    kept = min(dims, d)
    axes = _signed(axes[..., -kept:].flip(-1))
    coordinates = (clouds @ axes - mean @ axes) * (variances[:, None, :kept] > 0)
    explained = variances[:, :kept].sum(-1) / variances.sum(-1)
    return torch.nn.functional.pad(coordinates, (0, dims - kept)), explained


def _signed(axes: Tensor) -> Tensor:
    """Axes (cloud, d, axis) turned so that the largest loading is positive; of loadings equal but for rounding, the
    first.
    """
    sizes = axes.abs()
    first = (sizes >= sizes.amax(-2, keepdim=True) * (1 - 1e-6)).to(torch.uint8).argmax(-2, keepdim=True)
    return axes * axes.gather(-2, first).sign()
