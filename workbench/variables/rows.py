"""The rows of a model's embedding and unembedding that belong to some tokens."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

_AT_ONCE = 64


@torch.no_grad()
def embedding_rows(model: "LensModel", ids: Int[Tensor, "value"]) -> Float[Tensor, "value d_embed"]:
    """What the token embedding gives for each id, without positions; of the stack that reads the prompt."""
    stack = next(stack for stack in model.stacks if stack.side == "input")
    assert stack.row.embed is not None, "every family that reads text names its embedding"
    return model.module.get_submodule(model.base + stack.row.embed)(ids.to(model.device)[None])[0]


@torch.no_grad()
def unembedding_rows(model: "LensModel", ids: Int[Tensor, "value"]) -> Float[Tensor, "value d_model"] | None:
    """The direction of the last state that each id's logit reads, biases left out; None where no token is answered.

    Between the last state and these rows stands a norm, and in models that fill masks one more map.
    """
    if "readout" not in model.capabilities or model.classes is not None:
        return None
    last: Any = model.unembed
    if last is None:
        last = getattr(model.module, "get_output_embeddings", lambda: None)()
    if last is None:
        return None
    weight = getattr(last, "weight", None)
    if isinstance(weight, Tensor) and weight.ndim == 2 and weight.is_floating_point():
        return weight.detach()[ids.to(weight.device)]
    eye = torch.eye(model.d_model, device=model.device, dtype=model.dtype)
    bias = last(torch.zeros_like(eye[:1]))
    return torch.cat([(last(part) - bias)[:, ids.to(eye.device)] for part in eye.split(_AT_ONCE)]).T.contiguous()
