"""What stands first: the prompt with the start token that is asked for, and which of its tokens are special ones."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from workbench.analyses.one_prompt import one_prompt, real
from workbench.errors import BadInput
from workbench.inputs import tokenizer_of
from workbench.models.lens_model import LensModel

StartToken = Annotated[
    Literal["as the tokenizer does", "yes", "no"],
    "Whether a start token (BOS) comes first; no: no special token at all",
]
_BOS = {"as the tokenizer does": None, "yes": True, "no": False}
_NO_PATCH = re.compile(r"CLS|DIST|REG \d+")


def started(model: LensModel, prompt: Any, start: str) -> dict[str, Tensor]:
    """The prompt as a batch of one, with the start token that is asked for; only a text can be given another one."""
    if _BOS[start] is None:
        return one_prompt(model, prompt)
    if not isinstance(prompt, str) or model.reads != "text":
        raise BadInput(f"start={start!r} is for a text that is yet to be cut into tokens; leave it out here.")
    return one_prompt(model, model.encode(prompt, bos=_BOS[start]))


def special_positions(model: LensModel, batch: Mapping[str, Tensor], side: str) -> tuple[int, ...]:
    """Positions of special tokens (BOS, [CLS], [SEP]); of pictures and sounds, those that are no patch."""
    ids = batch.get("decoder_input_ids" if side == "target" else model.architecture.input_name)
    if side == "image" or ids is None or ids.is_floating_point():
        return tuple(i for i, text in enumerate(model.labels(batch, side=side)) if _NO_PATCH.fullmatch(text))
    row = real(ids[0], batch, side, dim=0).tolist()
    config = getattr(model.module, "config", None)
    special = {*getattr(tokenizer_of(model), "all_special_ids", ())}
    special |= {getattr(config, "decoder_start_token_id", None)} if side == "target" else set()
    return tuple(i for i, number in enumerate(row) if number in special)


def first_sentence(labels: tuple[str, ...], special: tuple[int, ...]) -> str:
    """Which token takes the first place, which most sinks and massive activations stand at."""
    if 0 in special:
        return f"The first token is {labels[0]!r}, a special one."
    return f"The first token is {labels[0]!r}, no special one: it has the place that a start token would have."


def raw_positions(batch: Mapping[str, Tensor], side: str, length: int) -> Tensor:
    """Where each real position stands in the batch, padding counted."""
    return real(torch.arange(length, device=next(iter(batch.values())).device), batch, side, dim=0)
