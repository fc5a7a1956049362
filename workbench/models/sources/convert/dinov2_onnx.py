"""The DINOv2 ViT-S/14 backbone inside an ONNX model, as a `Dinov2Model` in float32."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import BadFile
from workbench.models.sources.convert import onnx
from workbench.models.sources.convert.safetensors_file import Promise, write

N_PATCHES, D_MODEL = 37 * 37, 384  # position embeddings are those of 518-pixel images with 14-pixel patches

CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": D_MODEL,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "hidden_act": "gelu",
    "dtype": "float32",
}

PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,  # bicubic
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
"""How facebook/dinov2-small prepares images."""


def convert(members: Path, out: Path) -> dict[str, Any]:
    """Write config, weights under the names of the original checkpoint, and the image preprocessor."""
    tensors = onnx.weights(members / "model.onnx")
    kept = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    # the exporter split the position embeddings into the class token's row and the rows of the patches
    rows = [
        [t for name, t in tensors.items() if t.shape == (1, n, D_MODEL) and not name.startswith("backbone.")]
        for n in (1, N_PATCHES)
    ]
    if [len(found) for found in rows] != [1, 1]:
        raise BadFile("The ONNX file does not hold the position embeddings of a DINOv2 ViT-S/14.")
    kept["embeddings.position_embeddings"] = np.concatenate([found[0] for found in rows], axis=1)
    kept["embeddings.mask_token"] = np.zeros((1, D_MODEL), np.float32)  # used only in pre-training, not exported
    write(out / "model.safetensors", {name: Promise(t.shape, t.dtype, lambda t=t: t) for name, t in kept.items()})
    (out / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n", encoding="utf-8")
    (out / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=1) + "\n", encoding="utf-8")
    return {"stored_dtype": "float32"}
