"""What a person types or hands over (text, token ids, an image, audio) made into what a module takes, and back.

No special token is added that the processor does not add itself, unless `bos` asks for it. Batches are padded on the
right, with a mask, whatever the tokenizer's own habit: that keeps every position where it would be alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench import media, ready
from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

TARGET_MARK = " => "
"""Between the encoder's text and the decoder's, where one line must hold both."""


def encode(model: "LensModel", x: Any, *, target: str | None = None, bos: bool | None = None) -> dict[str, Tensor]:
    """See `LensModel.encode`."""
    if isinstance(x, Mapping):
        return ready.checked(model, x, lambda ids: _rows(model, ids, None))
    found = _ENCODERS[model.reads](model, x, target, bos)
    return {name: _moved(model, value) for name, value in found.items()}


def _moved(model: "LensModel", value: Tensor) -> Tensor:
    return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def _encode_text(model: "LensModel", x: Any, target: str | None, bos: bool | None) -> dict[str, Tensor]:
    seq2seq = model.main.side == "target"
    if seq2seq and isinstance(x, str) and target is None and TARGET_MARK in x:
        x, target = x.split(TARGET_MARK, 1)
    elif seq2seq and isinstance(x, tuple):
        x, target = x
    found = _padded(model, _rows(model, x, bos))
    if seq2seq:
        found["decoder_input_ids"] = _decoder_ids(model, target, len(found["attention_mask"]))
    return found


def _rows(model: "LensModel", x: Any, bos: bool | None) -> list[list[int]]:
    if isinstance(x, Tensor):
        if x.is_floating_point() or x.dtype == torch.bool or x.ndim not in (1, 2) or x.numel() == 0:
            raise BadInput(f"Token ids are integers of shape (pos) or (batch, pos), not {x.dtype} {tuple(x.shape)}.")
        rows = x.reshape(-1, x.shape[-1]).tolist()
    elif isinstance(x, str):
        rows = [_ids(model, x, bos)]
    elif isinstance(x, Sequence) and x and all(isinstance(one, str) for one in x):
        rows = [_ids(model, one, bos) for one in x]
    elif isinstance(x, Sequence) and x and all(isinstance(one, int) and not isinstance(one, bool) for one in x):
        rows = [list(x)]
    else:
        raise BadInput(f"{model.name} reads text: a string, a list of strings, or token ids, not {_kind(x)}.")
    limit, vocab = model.n_ctx, vocab_size(model)
    for row in rows:
        if limit is not None and len(row) > limit:
            raise BadInput(
                f"The prompt is {len(row)} tokens long, and {model.name} reads at most {limit}. Shorten it by"
                f" {len(row) - limit} tokens."
            )
        if vocab and not all(0 <= number < vocab for number in row):
            raise BadInput(f"Token ids of {model.name} run from 0 to {vocab - 1}; got {min(row)} to {max(row)}.")
    return rows


def _ids(model: "LensModel", text: str, bos: bool | None) -> list[int]:
    if not text.strip("\x00"):
        raise BadInput("The prompt is empty. Type at least one character.")
    if model.processor is None:
        raise BadInput(f"{model.name} was adapted without a tokenizer: give token ids, or adapt(module, tokenizer).")
    tokenizer = tokenizer_of(model)
    row = list(tokenizer(text, add_special_tokens=bos is not False)["input_ids"])
    start = getattr(tokenizer, "bos_token_id", None)
    if bos and start is None:
        raise BadInput(f"{model.name}'s tokenizer has no BOS token; leave `bos` out.")
    if bos and row[:1] != [start]:
        row = [start, *row]
    if not row:
        raise BadInput("The prompt has no tokens. Type at least one character.")
    return row


def _padded(model: "LensModel", rows: list[list[int]]) -> dict[str, Tensor]:
    pad = pad_id(model)
    width = max(map(len, rows))
    return {
        model.architecture.input_name: torch.tensor([row + [pad] * (width - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }


def pad_id(model: "LensModel") -> int:
    """The id that fills up short rows; masked, so any will do, but RoBERTa's positions are counted from it."""
    for owner in (tokenizer_of(model), getattr(model.module, "config", None)):
        if isinstance(number := getattr(owner, "pad_token_id", None), int) and number >= 0:
            return number
    return 0


def _decoder_ids(model: "LensModel", target: str | None, n_rows: int) -> Tensor:
    config: Any = model.module.config
    start = config.decoder_start_token_id
    ids = [start if start is not None else config.bos_token_id]
    if target:
        ids += list(tokenizer_of(model)(target, add_special_tokens=False)["input_ids"])
    if model.n_ctx is not None and len(ids) > model.n_ctx:
        raise BadInput(f"The target is {len(ids)} tokens long, and {model.name} writes at most {model.n_ctx}.")
    return torch.tensor([ids] * n_rows)


def _encode_image(model: "LensModel", x: Any, target: str | None, bos: bool | None) -> dict[str, Tensor]:
    if isinstance(x, Tensor) and x.is_floating_point() and x.ndim in (3, 4):
        return {"pixel_values": ready.check_pixels(model, x if x.ndim == 4 else x[None])}
    pictures = [media.image(one) for one in (x if isinstance(x, list) else [x])]
    if model.processor is None:
        raise BadInput(f"{model.name} was adapted without an image processor: give a tensor (batch, 3, height, width).")
    processor = getattr(model.processor, "image_processor", model.processor)
    return {"pixel_values": processor(images=pictures, return_tensors="pt")["pixel_values"]}


def _encode_audio(model: "LensModel", x: Any, target: str | None, bos: bool | None) -> dict[str, Tensor]:
    if isinstance(x, tuple):
        x, target = x
    if isinstance(x, str) and TARGET_MARK in x:
        x, target = x.split(TARGET_MARK, 1)
    name = getattr(model.module, "main_input_name", "input_features")
    if isinstance(x, Tensor) and x.ndim == 3:
        found = {name: x}
    else:
        if model.processor is None:
            raise BadInput(f"{model.name} was adapted without a feature extractor: give its features as a tensor.")
        extractor = getattr(model.processor, "feature_extractor", model.processor)
        wave = media.audio(x, extractor.sampling_rate)
        found = {name: extractor(wave, sampling_rate=extractor.sampling_rate, return_tensors="pt")[name]}
    if model.main.side == "target":
        found["decoder_input_ids"] = _decoder_ids(model, target, len(found[name]))
    return found


def _encode_both(model: "LensModel", x: Any, target: str | None, bos: bool | None) -> dict[str, Tensor]:
    text, picture = x if isinstance(x, tuple) else media.text_and_image(x)
    found = _padded(model, _rows(model, text, bos))
    return found | _encode_image(model, picture, None, None)


_ENCODERS: Mapping[str, Callable[["LensModel", Any, str | None, bool | None], dict[str, Tensor]]] = {
    "text": _encode_text,
    "image": _encode_image,
    "audio": _encode_audio,
    "text+image": _encode_both,
}


def _kind(x: Any) -> str:
    if isinstance(x, Sequence) and not isinstance(x, str):
        return f"a {type(x).__name__} of {type(x[0]).__name__}" if x else "an empty list"
    return type(x).__name__


# ---- back to what a person reads -----------------------------------------------------------------------------------


def tokenizer_of(model: "LensModel") -> Any:
    """The text half of the processor."""
    return getattr(model.processor, "tokenizer", model.processor)


def labels(model: "LensModel", batch: Mapping[str, Tensor], *, row: int = 0, side: str = "input") -> tuple[str, ...]:
    """See `LensModel.labels`."""
    if side == "target":
        return tuple(_token(model, number) for number in batch["decoder_input_ids"][row].tolist())
    if side == "image" or model.architecture.input_name not in batch:
        return media.labels(model, batch)
    ids, mask = batch[model.architecture.input_name][row], batch.get("attention_mask")
    ids = ids if mask is None else ids[mask[row].bool()]
    return tuple(_token(model, number) for number in ids.tolist())


def _token(model: "LensModel", number: int) -> str:
    tokenizer = tokenizer_of(model)
    if tokenizer is None:
        return str(number)
    raw = tokenizer.convert_ids_to_tokens([number])[0]
    if raw is None:
        return f"[{number}]"
    if raw.startswith("▁"):
        return " " + raw[1:]
    if getattr(tokenizer, "is_fast", False) and ("Ġ" in raw or "Ċ" in raw or any(ord(c) > 126 for c in raw)):
        text = tokenizer.decode([number], clean_up_tokenization_spaces=False)
        return raw if "\ufffd" in text or not text else text
    return raw


def token_text(model: "LensModel", number: int) -> str:
    """See `LensModel.token_text`."""
    return _token(model, number) if model.classes is None else model.classes[number]


CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification", "ForAudioClassification")
"""How transformers' classes end that answer with one class for the whole input."""


def classes(model: "LensModel") -> tuple[str, ...] | None:
    """See `LensModel.classes`."""
    if not type(model.module).__name__.endswith(CLASSIFIERS):
        return None
    config: Any = model.module.config
    return tuple(str(config.id2label.get(number, number)) for number in range(config.num_labels))


def token_id(model: "LensModel", text: str | int) -> int:
    """See `LensModel.token_id`."""
    size = model.vocab_size
    if text == "":
        raise BadInput("The chosen answer is empty. Type one token, or leave it out for the model's own answer.")
    if isinstance(text, int) or (tokenizer_of(model) is None and text.isdigit()):
        if not 0 <= int(text) < size:
            raise BadInput(f"Answers of {model.name} are numbered 0 to {size - 1}; there is no {text}.")
        return int(text)
    if model.classes is not None:
        if text in model.classes:
            return model.classes.index(text)
        more = " ..." if len(model.classes) > 12 else ""
        raise BadInput(f"{model.name} has no class {text!r}. Classes: {', '.join(model.classes[:12])}{more}.")
    tokenizer = tokenizer_of(model)
    unknown = getattr(tokenizer, "unk_token_id", None)
    special = tokenizer.convert_tokens_to_ids(text) if text in (tokenizer.all_special_tokens or ()) else None
    if isinstance(special, int):
        return special
    tried = []
    for spelling in dict.fromkeys((text, f" {text}")):
        ids = list(tokenizer(spelling, add_special_tokens=False)["input_ids"])
        if len(ids) == 1 and ids[0] != unknown:
            return ids[0]
        tried.append(f"{spelling!r} is {[_token(model, number) for number in ids]}")
    raise BadInput(f"{text!r} is not one token of {model.name}: {'; '.join(tried)}. Choose a single token.")


def answer_position(model: "LensModel", batch: Mapping[str, Tensor]) -> int:
    """See `LensModel.answer_position`."""
    if model.architecture.input_name not in batch and model.main.side != "target":
        return 0  # the class token's
    if model.main.side == "target":
        return batch["decoder_input_ids"].shape[1] - 1
    ids = batch[model.architecture.input_name][0]
    last = int(batch["attention_mask"][0].nonzero()[-1]) if "attention_mask" in batch else len(ids) - 1
    if model.main.causal:
        return last
    if model.classes is not None:
        return int(batch["attention_mask"][0].argmax()) if "attention_mask" in batch else 0  # the class token's
    mask = getattr(tokenizer_of(model), "mask_token_id", None)
    masked = (ids == mask).nonzero().flatten().tolist() if mask is not None else []
    return masked[0] if masked else last


# ---- sizes ---------------------------------------------------------------------------------------------------------


def context_length(model: "LensModel") -> int | None:
    """See `LensModel.n_ctx`."""
    config: Any = getattr(model.module, "config", None)
    config = getattr(config, model.main.row.config) if model.main.row.config else config
    if getattr(config, "model_type", None) in ("t5", "mt5", "mamba"):
        return None
    for name in ("max_position_embeddings", "n_positions", "max_target_positions", "n_ctx"):
        if isinstance(limit := getattr(config, name, None), int):
            offset = config.pad_token_id + 1 if config_is_roberta(config) else 0
            return limit - offset
    return None


def config_is_roberta(config: Any) -> bool:
    """RoBERTa counts positions from its padding id, which costs it as many of them."""
    return getattr(config, "model_type", "") in ("roberta", "xlm-roberta")


def vocab_size(model: "LensModel") -> int:
    """Number of token ids, or of classes; 0 where the config does not say."""
    config: Any = getattr(model.module, "config", None)
    config = getattr(config, model.main.row.config) if model.main.row.config else config
    for name in ("vocab_size", "d_vocab", "num_labels"):
        if isinstance(size := getattr(config, name, None), int):
            return size
    return 0
