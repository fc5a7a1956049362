"""Tiny random models of every family, for tests, demos and plugin authors. They need no network and no weights."""

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from types import MappingProxyType
from typing import Any

import torch

from workbench.errors import UnknownName
from workbench.models.adapters import adapt
from workbench.models.lens_model import LensModel
from workbench.models.micro.characters import CharacterTokenizer

_MAKING = Lock()
_BLOCKS = {"hidden_size": 16, "num_hidden_layers": 2}
_HEADS = {"num_attention_heads": 2, "intermediate_size": 32}
_IDS = {"vocab_size": 98, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_POSITIONS = {"max_position_embeddings": 64}
_PATCHES = {"image_size": 16, "patch_size": 8}
_TWO_SIDES = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "decoder_start_token_id": 0,
}


class TinyEyes:
    """Cuts any image to the 16 x 16 pixels that the tiny vision models see."""

    def __call__(self, images: list[Any], return_tensors: str = "pt") -> dict[str, torch.Tensor]:
        """Give pixels (batch, 3, 16, 16) in 0..1."""
        import numpy as np

        arrays = [np.asarray(picture.resize((16, 16)), dtype=np.float32) / 255 for picture in images]
        return {"pixel_values": torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)}


class TinyEars:
    """Folds samples into (mel, frames) features of a fixed size, as the tiny audio models hear."""

    sampling_rate = 400

    def __init__(self, name: str, shape: tuple[int, int]) -> None:
        self.name, self.shape = name, shape

    def __call__(self, wave: Any, sampling_rate: int, return_tensors: str = "pt") -> dict[str, torch.Tensor]:
        """Give features (1, *shape): the first samples, zeros where there are too few."""
        size = self.shape[0] * self.shape[1]
        samples = torch.as_tensor(wave[:size])
        return {self.name: torch.nn.functional.pad(samples, (0, size - len(samples))).view(1, *self.shape)}


class TinyBoth:
    """A tokenizer with eyes or ears, like transformers' processors."""

    def __init__(self, **parts: Any) -> None:
        self.tokenizer = CharacterTokenizer()
        self.__dict__.update(parts)


def _hf(
    model_class: str, config_class: str, processor: Callable[[], Any] = CharacterTokenizer, **sizes: Any
) -> LensModel:
    with _MAKING:  # transformers imports its parts when they are named, which two threads at once may not
        return _made(model_class, config_class, processor, sizes)


def _made(model_class: str, config_class: str, processor: Callable[[], Any], sizes: dict[str, Any]) -> LensModel:
    import transformers

    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**sizes)
    module = getattr(transformers, model_class)(config).eval()
    with torch.no_grad():  # fresh biases and norms are all zeros and ones, which would hide mistakes about them
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    torch.set_rng_state(generator_state)
    return adapt(module, processor(), name=f"tiny:{config.model_type.replace('audio-spectrogram-transformer', 'ast')}")


def _micro() -> LensModel:
    from workbench.models.micro import load_micro

    module, tokenizer = load_micro()
    return adapt(module, tokenizer, "attention_only", name="micro")


_TEXT = {**_IDS, **_BLOCKS, **_HEADS}
_TINY: dict[str, Callable[[], LensModel]] = {
    "gpt2": partial(_hf, "GPT2LMHeadModel", "GPT2Config", **_IDS, n_layer=2, n_head=2, n_embd=16, n_positions=64),
    "llama": partial(
        _hf, "LlamaForCausalLM", "LlamaConfig", **(_TEXT | {"num_attention_heads": 4}), **_POSITIONS,
        num_key_value_heads=2,
    ),
    "neox": partial(_hf, "GPTNeoXForCausalLM", "GPTNeoXConfig", **_TEXT, **_POSITIONS, rotary_pct=0.5),
    "bert": partial(_hf, "BertForMaskedLM", "BertConfig", **_TEXT, **_POSITIONS),
    "roberta": partial(_hf, "RobertaForMaskedLM", "RobertaConfig", **_TEXT, **_POSITIONS),
    "distilbert": partial(
        _hf, "DistilBertForMaskedLM", "DistilBertConfig", **_IDS, **_POSITIONS, dim=16, n_layers=2, n_heads=2,
        hidden_dim=32,
    ),
    "electra": partial(_hf, "ElectraForMaskedLM", "ElectraConfig", **_TEXT, **_POSITIONS, embedding_size=8),
    "albert": partial(_hf, "AlbertForMaskedLM", "AlbertConfig", **_TEXT, **_POSITIONS, embedding_size=8),
    "t5": partial(
        _hf, "T5ForConditionalGeneration", "T5Config", **_IDS, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0,
    ),
    "bart": partial(_hf, "BartForConditionalGeneration", "BartConfig", **_IDS, **_POSITIONS, **_TWO_SIDES),
    "whisper": partial(
        _hf, "WhisperForConditionalGeneration", "WhisperConfig",
        lambda: TinyBoth(feature_extractor=TinyEars("input_features", (8, 40))),
        **_IDS, **_TWO_SIDES, num_mel_bins=8, max_source_positions=20, max_target_positions=64,
    ),
    "vit": partial(
        _hf, "ViTForImageClassification", "ViTConfig", TinyEyes, **_BLOCKS, **_HEADS, **_PATCHES, num_labels=5
    ),
    "dinov2": partial(_hf, "Dinov2Model", "Dinov2Config", TinyEyes, **_BLOCKS, **_HEADS, **_PATCHES),
    "clip": partial(
        _hf, "CLIPModel", "CLIPConfig", lambda: TinyBoth(image_processor=TinyEyes()), projection_dim=8,
        text_config={**_TEXT, **_POSITIONS, "eos_token_id": 2}, vision_config={**_BLOCKS, **_HEADS, **_PATCHES},
    ),
    "ast": partial(
        _hf, "ASTForAudioClassification", "ASTConfig", lambda: TinyEars("input_values", (32, 16)), **_BLOCKS, **_HEADS,
        patch_size=8, num_mel_bins=16, max_length=32, frequency_stride=8, time_stride=8, num_labels=5,
    ),
    "mamba": partial(_hf, "MambaForCausalLM", "MambaConfig", **_IDS, **_BLOCKS, state_size=4),
    "micro": _micro,
}  # fmt: skip
FAMILIES: tuple[str, ...] = tuple(_TINY)
"""The families that `tiny_model` and `workbench.load("tiny:FAMILY")` make."""

TINY: Mapping[str, Callable[[], LensModel]] = MappingProxyType(_TINY)


def tiny_model(family: str) -> LensModel:
    """A two-layer random model of a family, the same at every call; `micro` is the trained one that ships."""
    if family not in TINY:
        raise UnknownName("tiny model", family, TINY)
    return TINY[family]()


def example_input(family: str) -> str:
    """Something every tiny model of that family can read, as one would type it."""
    kinds = {"t5": "abcabc => ab", "bart": "abcabc => ab", "whisper": "example => ab", "clip": "abcabc @ example"}
    return kinds.get(family, "example" if family in ("vit", "dinov2", "ast") else "abcabcabc")
