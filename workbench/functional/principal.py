"""Clouds along the axes on which they spread most (PCA), exactly and the same each time."""

import torch
from torch import Tensor

from workbench import progress
from workbench.functional.neighbours import in_double

BLOCK = 2**22
"""Numbers of a cloud in double precision at a time: 32 MiB."""


def principal_pictures(clouds: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """`principal_picture` of as many clouds at a time as fit into a block."""
    found = []
    progress.report("PCA", done := 0, len(clouds))
    for block in clouds.split(max(1, BLOCK // clouds[0].numel())):
        found.append(principal_picture(in_double(block), dims))
        progress.report("PCA", done := done + len(block), len(clouds))
    coordinates, explained = zip(*found, strict=True)
    return torch.cat(coordinates), torch.cat(explained)


def principal_picture(clouds: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Coordinates (cloud, point, dims) along the principal axes, and the share of the variance that they hold."""
    d = clouds.shape[-1]
    clouds = clouds - clouds[:, :1]  # so that points that are all one leave 0, whatever the rounding of a mean
    clouds = clouds - clouds.mean(1, keepdim=True)
    variances, axes = torch.linalg.eigh(clouds.mT @ clouds)  # ascending
    kept = min(dims, d)
    variances, axes = variances.clamp(min=0).flip(-1), axes[..., -kept:].flip(-1)
    noise = variances[:, :1] * d * torch.finfo(clouds.dtype).eps
    coordinates = (clouds @ _signed(axes)) * (variances[:, None, :kept] > noise[:, None])
    explained = variances[:, :kept].sum(-1) / variances.sum(-1)
    return torch.nn.functional.pad(coordinates, (0, dims - kept)), explained


def _signed(axes: Tensor) -> Tensor:
    """Axes (cloud, d, axis) turned so that the largest loading is positive; of loadings equal but for rounding, the
    first.
    """
    sizes = axes.abs()
    first = (sizes >= sizes.amax(-2, keepdim=True) * (1 - 1e-6)).to(torch.uint8).argmax(-2, keepdim=True)
    return axes * axes.gather(-2, first).sign()
