"""A tokenizer whose tokens are words between spaces, and the folder a small transformer is kept in."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from workbench.errors import BadInput
from workbench.files import write_atomically
from workbench.models.small.transformer import SmallTransformer

UNKNOWN = "[?]"


def word_tokenizer(words: Sequence[str]) -> Any:
    """A tokenizer (as `transformers` has them) that gives each word between spaces one id: its place in `words`.

    One more id, the last, stands for words that are not listed. Raises `BadInput` for words that are not different,
    empty or hold white space.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if not all(isinstance(word, str) for word in words):
        raise BadInput("The words of a tokenizer are texts, such as '7' or '+'.")
    if len(set(words)) < len(words) or UNKNOWN in words or any(len(word.split()) != 1 for word in words):
        raise BadInput(f"The words of a tokenizer are different, without spaces, and none is {UNKNOWN!r}.")
    ids = {word: number for number, word in enumerate((*words, UNKNOWN))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN)


def save_small(
    module: SmallTransformer,
    tokenizer: Any,
    folder: str | Path,
    *,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a folder that `workbench.load` opens: config.json, model.safetensors and the tokenizer's files.

    `dtype` such as torch.float16 stores the weights shorter; what is loaded back are the rounded numbers. The folder of
    a training holds one such folder a step, `checkpoint-1000` and so on: `workbench.load(folder, checkpoint="1000")`.
    """
    from safetensors.torch import save

    if not hasattr(tokenizer, "save_pretrained"):
        raise BadInput(f"save_small takes the tokenizer that word_tokenizer makes, not {type(tokenizer).__name__}.")
    folder = Path(folder)
    weights = {name: value.detach().to(dtype or value.dtype).contiguous().cpu() for name, value in _own(module).items()}
    config = {
        **module.config.to_diff_dict(),
        "architectures": ["SmallTransformer"],
        "dtype": str(dtype or module.dtype).removeprefix("torch."),
        "provenance": dict(provenance) if provenance else None,
    }
    try:
        written = json.dumps(config, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise BadInput(f"provenance is kept as JSON, which this is not: {error}. Nothing was written.") from error
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    write_atomically(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    write_atomically(folder / "config.json", written)
    return folder


def _own(module: SmallTransformer) -> dict[str, Any]:
    weights = dict(module.state_dict())
    if module.config.tied:
        del weights["unembed.weight"]
    return weights
