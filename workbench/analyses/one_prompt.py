"""What every analysis of one prompt shares: the prompt as a batch of one, its real positions, the answer looked at."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.precision import precise as precise
from workbench.models.lens_model import LensModel


def one_prompt(model: LensModel, prompt: Any) -> dict[str, Tensor]:
    """The prompt as a batch; several prompts at once are refused."""
    batch = model.encode(prompt)
    if (size := next(iter(batch.values())).shape[0]) != 1:
        raise BadInput(f"This analysis reads one prompt at a time, not {size}; run it once for each.")
    return batch


def real(values: Tensor, batch: Mapping[str, Tensor], side: str, *, dim: int) -> Tensor:
    """`values` without the padded positions along `dim`, so that they match `model.labels`."""
    mask = batch.get("attention_mask" if side == "input" else "decoder_attention_mask")
    if mask is None or mask.ndim != 2 or mask.shape[1] != values.shape[dim] or bool(mask.all()):
        return values
    return values.index_select(dim, mask[0].nonzero().squeeze(-1))


def checked_position(position: int, labels: tuple[str, ...]) -> int:
    """`position` counted from 0, or a sentence when the prompt is not that long."""
    if not -len(labels) <= position < len(labels):
        raise BadInput(f"There is no position {position}: the prompt has {len(labels)}, 0 to {len(labels) - 1}.")
    return position % len(labels)


def chosen_answer(model: LensModel, token: str | None, logits: Float[Tensor, "vocab"]) -> int:
    """The id of `token`, or of the model's own top answer when none is named."""
    return int(logits.argmax()) if token is None else model.token_id(token)


def answer_texts(model: LensModel, ids: Tensor) -> Any:
    """The texts of ids as tuples nested like `ids`; each different id is decoded once."""
    texts = {number: model.token_text(number) for number in torch.unique(ids).tolist()}

    def nested(value: Any) -> Any:
        return tuple(map(nested, value)) if isinstance(value, list) else texts[value]

    return nested(ids.tolist())
