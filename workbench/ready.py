"""A batch that somebody made themselves: lists become tensors, and what the module could not run is a sentence."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel


def checked(model: "LensModel", batch: Mapping[str, Any], check_ids: Callable[[Tensor], object]) -> dict[str, Tensor]:
    """`batch` as tensors, after checking that what the model needs is there and has a shape it can take.

    `check_ids` raises `BadInput` for token ids that are out of range or too many.
    """
    found = {name: _tensor(model, name, value) for name, value in batch.items()}
    for choice in _needed(model):
        if not any(name in found for name in choice):
            raise BadInput(f"A batch for {model.name} needs {choice[0]!r}; it holds {', '.join(found) or 'nothing'}.")
    for name in (model.architecture.input_name, "decoder_input_ids"):
        if name in found:
            if found[name].ndim != 2:
                raise BadInput(f"{name!r} of the batch has the shape (batch, pos), not {tuple(found[name].shape)}.")
            check_ids(found[name])
    ids, mask = found.get(model.architecture.input_name), found.get("attention_mask")
    if ids is not None and mask is not None and mask.shape != ids.shape:
        raise BadInput(f"The attention_mask has the shape {tuple(mask.shape)}, and the tokens {tuple(ids.shape)}.")
    if mask is not None and mask.ndim == 2 and not bool(mask.any(-1).all()):
        empty = int((~mask.any(-1)).nonzero()[0])
        raise BadInput(f"The attention_mask of row {empty} of the batch is all padding: there is no token to read.")
    if "pixel_values" in found:
        check_pixels(model, found["pixel_values"])
    return found


def check_pixels(model: "LensModel", pixels: Tensor) -> Tensor:
    """`pixels`, after checking that they are pictures of as many colours as the model sees."""
    config: Any = getattr(model.module, "config", None)
    colours = getattr(getattr(config, "vision_config", config), "num_channels", 3)
    if pixels.ndim != 4 or pixels.shape[1] != colours or pixels.numel() == 0:
        raise BadInput(
            f"Pictures for {model.name} are tensors (batch, {colours}, height, width), not {tuple(pixels.shape)}."
        )
    return pixels


def _needed(model: "LensModel") -> list[tuple[str, ...]]:
    """What must be in a batch: for each the argument's name, and others that do instead."""
    text = (model.architecture.input_name, "inputs_embeds")
    audio = (getattr(model.module, "main_input_name", "input_features"), "encoder_outputs")
    needed = {"text": [text], "image": [("pixel_values",)], "audio": [audio], "text+image": [text, ("pixel_values",)]}
    target = [("decoder_input_ids", "decoder_inputs_embeds", "labels")] if model.main.side == "target" else []
    return needed[model.reads] + target


def _tensor(model: "LensModel", name: str, value: Any) -> Any:
    if isinstance(value, Tensor) or name in ("encoder_outputs", "past_key_values"):
        return value
    try:
        return torch.as_tensor(value, device=model.device)
    except (TypeError, ValueError, RuntimeError):
        raise BadInput(
            f"{name!r} of the batch must be a tensor, or equally long lists of numbers, not {type(value).__name__}."
        ) from None
