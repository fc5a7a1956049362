"""Who wrote a logit: the parts of a residual stream, read through the final norm frozen at its actual scale.

A LayerNorm or RMSNorm divides by a number that depends on the whole stream. With that number held at the value it had
in the forward pass, what remains is linear, and the contributions of parts that sum to the stream sum to the logit.
Reference: Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits".
"""

import torch
from jaxtyping import Float
from torch import Tensor


def norm_scale(resid: Float[Tensor, "*batch d_model"], *, centred: bool, eps: float) -> Float[Tensor, "*batch 1"]:
    """What the norm divides by: sqrt(mean square + eps), of the centred stream for LayerNorm, as it is for RMSNorm."""
    if centred:
        resid = resid - resid.mean(-1, keepdim=True)
    return (resid.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def frozen_norm(
    parts: Float[Tensor, "*parts d_model"],
    scale: Float[Tensor, "*#parts 1"],
    *,
    centred: bool,
    weight: Float[Tensor, "d_model"] | None = None,
) -> Float[Tensor, "*parts d_model"]:
    """Each part through the norm with its divisor frozen at `scale`: linear, and without the norm's bias.

    `weight` is what the norm multiplies by: for Gemma's RMSNorm that is one plus its stored weight.
    """
    if centred:
        parts = parts - parts.mean(-1, keepdim=True)
    parts = parts / scale
    return parts if weight is None else parts * weight


def final_norm(
    resid: Float[Tensor, "*batch d_model"],
    *,
    centred: bool,
    eps: float,
    weight: Float[Tensor, "d_model"] | None = None,
    bias: Float[Tensor, "d_model"] | None = None,
) -> Float[Tensor, "*batch d_model"]:
    """The norm itself, LayerNorm (`centred`) or RMSNorm, written so that freezing its scale changes nothing."""
    scale = norm_scale(resid, centred=centred, eps=eps)
    normed = frozen_norm(resid, scale, centred=centred, weight=weight)
    return normed if bias is None else normed + bias


def norm_gradient(
    resid: Float[Tensor, "*#batch d_model"],
    upstream: Float[Tensor, "*batch d_model"],
    *,
    centred: bool,
    eps: float,
    weight: Float[Tensor, "d_model"] | None = None,
) -> Float[Tensor, "*batch d_model"]:
    """What gradients after the norm are before it: the transposed Jacobian at `resid`, its divisor not frozen.

    Cheaper than autograd where many gradients meet the norm at one stream: `upstream` may have more leading axes.
    """
    if centred:
        resid = resid - resid.mean(-1, keepdim=True)
    divisor = (resid.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    normed = resid * divisor
    upstream = upstream if weight is None else upstream * weight
    along = (upstream * normed).mean(-1, keepdim=True)
    found = torch.addcmul(upstream, normed, along, value=-1)
    if centred:
        found -= upstream.mean(-1, keepdim=True)
    return found.mul_(divisor)


def logit_attribution(
    parts: Float[Tensor, "part *batch d_model"],
    direction: Float[Tensor, "d_model"],
    *,
    scale: Float[Tensor, "*batch 1"],
    centred: bool,
    weight: Float[Tensor, "d_model"] | None = None,
    norm_bias: Float[Tensor, "d_model"] | None = None,
    logit_bias: float = 0.0,
) -> tuple[Float[Tensor, "part *batch"], Float[Tensor, ""]]:
    """What each part adds to a logit, and what the biases of norm and unembedding add; all together are the logit.

    `direction` is the token's row of the unembedding (or the difference of two rows, for a difference of logits);
    `scale` is `norm_scale` of the sum of the parts, that is of the real stream.
    """
    contributions = frozen_norm(parts, scale, centred=centred, weight=weight) @ direction
    bias = direction.new_tensor(logit_bias)
    return contributions, bias if norm_bias is None else bias + norm_bias @ direction
