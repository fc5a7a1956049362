"""Loads a model folder (config.json, weights, tokenizer or processor) into a transformers module, and checks it."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench import progress
from workbench.errors import BadFile, BadInput, BadWeights, UnsupportedModel
from workbench.models.weights import not_finite

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
    "auto": "auto",
}
"""What `dtype=` takes; "auto" keeps what is stored."""

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
PREPROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


@dataclass(frozen=True, eq=False, kw_only=True)
class Loaded:
    """What was in a model folder."""

    module: nn.Module
    processor: Any
    """None where the folder has neither tokenizer nor processor."""
    untrained: frozenset[str]
    """Weights the folder lacks, which are therefore random: a head among them is no readout."""


def load_folder(path: Path, *, dtype: str = "float32", trust_remote_code: bool = False) -> Loaded:
    """The module of class `config.architectures`, so that a checkpoint without a head is loaded without one.

    Weights are memory-mapped and copied one by one: never two copies of the model. Raises `BadFile` for a folder that
    is damaged or lacks weights of its body, `BadWeights` for NaN or infinity, `UnsupportedModel` for an unknown class.
    """
    if dtype not in DTYPES:
        raise BadInput(f"No dtype {dtype!r}; choose from {', '.join(DTYPES)}.")
    if not (path / "config.json").is_file():
        what = "has no config.json" if path.is_dir() else "is not a folder"
        raise BadFile(f"{path} {what}; a model folder holds config.json and model.safetensors (save_pretrained).")
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    with _quiet(), _in_a_sentence(path):
        config = _config(path, options)
        cls = _class(config, path, trust_remote_code)
        progress.report(f"loading {path.name}", 0, None)
        module, report = cls.from_pretrained(
            path, config=config, dtype=DTYPES[dtype], output_loading_info=True, **options
        )
        processor = _processor(path, options)
    said = getattr(getattr(processor, "tokenizer", processor), "deprecation_warnings", {})
    said["sequence-length-is-longer-than-the-specified-maximum"] = True  # `encode` says it, in its own words
    module.eval()
    missing = frozenset(report["missing_keys"])
    if lacking := sorted(key for key in missing if _is_body(module, key)):
        raise BadFile(
            f"{path} lacks {len(lacking)} weights of {cls.__name__}, such as {lacking[0]}: they would be random. "
            "It is damaged, or its config.json belongs to another model."
        )
    check_finite(module)
    return Loaded(module=module, processor=processor, untrained=missing)


def check_finite(module: nn.Module) -> None:
    """Raise `BadWeights` naming the first weight that holds NaN or infinity; one pass, no copy."""
    for name, n in not_finite(module):
        raise BadWeights(
            f"The weight {name} holds {n} values that are NaN or infinite; nothing computed with it would "
            "mean anything. Fetch or train the model again."
        )


def _config(path: Path, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    from workbench.models.small import SmallConfig

    AutoConfig.register(SmallConfig.model_type, SmallConfig, exist_ok=True)
    try:
        return AutoConfig.from_pretrained(path, **options)
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise _needs_code(path) from error
        raise UnsupportedModel(
            f"transformers cannot read {path / 'config.json'}: {str(error).splitlines()[0]}"
        ) from error


def _class(config: Any, path: Path, trust_remote_code: bool) -> Any:
    import transformers

    from workbench.models.small import SmallTransformer

    names = config.architectures or []
    if SmallTransformer.__name__ in names:
        return SmallTransformer
    for name in names:
        if hasattr(transformers, name):
            return getattr(transformers, name)
    if own := getattr(config, "auto_map", None):
        if not trust_remote_code:
            raise _needs_code(path)
        autos = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSeq2SeqLM", "AutoModel")
        for name in (*(auto for auto in autos if auto in own), *own):
            if hasattr(transformers, name) and name.startswith("AutoModel"):
                return getattr(transformers, name)
    if names:
        raise UnsupportedModel(
            f"{path} was written for {' or '.join(names)}, which transformers {transformers.__version__} does not have."
        )
    return transformers.AutoModel


def _needs_code(path: Path) -> UnsupportedModel:
    return UnsupportedModel(
        f"{path} comes with Python code of its own. load(..., trust_remote_code=True) would run it: "
        "do that only if you trust where it comes from."
    )


def _processor(path: Path, options: dict[str, Any]) -> Any:
    import transformers

    tokens = any((path / name).exists() for name in TOKENIZER)
    if any((path / name).exists() for name in PREPROCESSOR):
        if tokens:
            return transformers.AutoProcessor.from_pretrained(path, **options)
        try:
            return transformers.AutoImageProcessor.from_pretrained(path, **options)
        except (ValueError, KeyError, OSError):
            return transformers.AutoFeatureExtractor.from_pretrained(path, **options)
    return transformers.AutoTokenizer.from_pretrained(path, **options) if tokens else None


def _is_body(module: nn.Module, key: str) -> bool:
    """Whether a weight belongs to a numbered block of the model below its head."""
    base = getattr(module, "base_model_prefix", "")
    inside = key.startswith(f"{base}.") or not hasattr(module, base or "no base")
    return inside and re.search(r"\.\d+\.", key) is not None


@contextlib.contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    """Turn what transformers and safetensors raise for a damaged folder into `BadFile`."""
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    try:
        yield
    except (
        SafetensorError,
        UnpicklingError,
        OSError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        if isinstance(error, UnsupportedModel | BadInput | BadFile):
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadFile(f"The model in {path} cannot be loaded: {first}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own bars and load report off the screen; what they say is in `Loaded` and the checks."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
