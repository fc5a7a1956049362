"""What a gradient says of a token: its length, its product with the token's own vector, its mean under noise."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.functional.precision import precise


def saliency(gradients: Float[Tensor, "*batch d"], order: Literal[1, 2] = 2) -> Float[Tensor, "*batch"]:
    """How much the answer moves with a token's vector: the length of its gradient, Euclidean or (1) of absolute values.

    Simonyan et al. (2014), "Deep Inside Convolutional Networks". Units: those of the answer per unit of the vector.
    """
    return precise(gradients).norm(p=order, dim=-1)


def input_x_gradient(
    values: Float[Tensor, "*batch d"], gradients: Float[Tensor, "*batch d"], *, norm: bool = False
) -> Float[Tensor, "*batch"]:
    """How much of the answer a token's vector makes up to first order: the sum over its entries times their gradients.

    With `norm` the Euclidean length of these products instead, without sign, as GlobEnc compares its maps with
    (Modarressi et al. 2022). The sum is exact for what is linear in the vectors.
    """
    products = precise(values) * precise(gradients)
    return products.norm(dim=-1) if norm else products.sum(-1)


def with_noise(values: Float[Tensor, "*shape"], n: int, noise: float, seed: int = 0) -> Float[Tensor, "sample *shape"]:
    """`n` copies with Gaussian noise, whose standard deviation is `noise` times that of all entries of `values`.

    Drawn on the CPU in single precision, so that a seed gives the same noise on every device.
    """
    values = precise(values)
    draws = torch.randn(n, *values.shape, generator=torch.Generator().manual_seed(seed))
    return values + noise * values.std(correction=0) * draws.to(values)
