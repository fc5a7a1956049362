"""Images and audio: from a file, an array or the built-in example to what a processor takes; labels of patches."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

EXAMPLE = "example"
"""Typed instead of a path: a picture, or a sound, that is computed and not shipped."""


def image(x: Any) -> Any:
    """A PIL image from a path, a PIL image, or an array (height, width, 3) of 0..255; `example` is built in."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(x, Image.Image):
        return x.convert("RGB")
    if isinstance(x, np.ndarray):
        return Image.fromarray(x.astype(np.uint8)).convert("RGB")
    if isinstance(x, str | Path):
        if str(x) == EXAMPLE:
            return Image.fromarray(_picture())
        try:
            return Image.open(x).convert("RGB")
        except (OSError, UnidentifiedImageError):
            raise BadInput(
                f"No image could be read from {str(x)[:120]!r}: give the path of one, or '{EXAMPLE}'."
            ) from None
    raise BadInput(f"This model reads images: a path, a PIL image or an array, not {type(x).__name__}.")


def _picture(size: int = 224) -> np.ndarray:
    """A red disc on a blue-green slope: something with a place, an edge and a colour."""
    y, x = np.mgrid[0:size, 0:size] / size
    picture = np.stack([0.2 + 0 * x, x, y], -1)
    picture[(x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.05] = [0.9, 0.1, 0.1]
    return (picture * 255).astype(np.uint8)


def audio(x: Any, rate: int) -> np.ndarray:
    """One channel of samples in -1..1 at `rate` per second, from a .wav path or an array at that rate."""
    if isinstance(x, Tensor):
        x = x.cpu().numpy()
    if isinstance(x, np.ndarray) and x.ndim == 1 and len(x):
        return x.astype(np.float32)
    if isinstance(x, str | Path):
        if str(x) == EXAMPLE:
            t = np.arange(rate, dtype=np.float32) / rate  # one second of a rising tone
            return 0.5 * np.sin(2 * np.pi * (200 + 300 * t) * t).astype(np.float32)
        return _wav(Path(x), rate)
    raise BadInput(f"This model hears audio: the path of a .wav file, or a row of samples, not {type(x).__name__}.")


def _wav(path: Path, rate: int) -> np.ndarray:
    from math import gcd

    from scipy.io import wavfile
    from scipy.signal import resample_poly

    try:
        found, samples = wavfile.read(path)
    except (OSError, ValueError):
        raise BadInput(f"No sound could be read from {str(path)[:120]!r}: give a .wav file, or '{EXAMPLE}'.") from None
    scale = np.iinfo(samples.dtype).max if np.issubdtype(samples.dtype, np.integer) else 1.0
    wave = samples.astype(np.float32) / scale
    wave = wave.mean(-1) if wave.ndim == 2 else wave
    common = gcd(found, rate)
    return resample_poly(wave, rate // common, found // common).astype(np.float32)


def text_and_image(x: Any) -> tuple[str, Any]:
    """The two halves of `text @ path`; without a path the built-in picture stands in."""
    if not isinstance(x, str):
        raise BadInput(f"This model reads a text and an image: a pair, or 'text @ path', not {type(x).__name__}.")
    text, mark, path = x.partition(" @ ")
    return text, path.strip() if mark else EXAMPLE


def labels(model: "LensModel", batch: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Where each patch or frame is, after the class (and register) tokens."""
    config: Any = model.module.config
    if model.stacks[0].row.config and "pixel_values" in batch:
        config = getattr(config, model.stacks[0].row.config)
    if "pixel_values" in batch:
        height, width = (side // config.patch_size for side in batch["pixel_values"].shape[-2:])
        n_registers = getattr(config, "num_register_tokens", 0)
        special = ["CLS", *(f"REG {i}" for i in range(n_registers))]
        if config.model_type == "deit":
            special.append("DIST")
        return (*special, *(f"{row},{column}" for row in range(height) for column in range(width)))
    if "input_values" in batch:  # AST: (frequency, time) patches
        frames, mels = batch["input_values"].shape[1:]
        high = (mels - config.patch_size) // config.frequency_stride + 1
        wide = (frames - config.patch_size) // config.time_stride + 1
        return ("CLS", "DIST", *(f"f{f},t{t}" for f in range(high) for t in range(wide)))
    frames = batch["input_features"].shape[-1] // 2  # Whisper's second convolution halves them
    return tuple(f"{i * 0.02:.2f}s" for i in range(frames))


def seen(model: "LensModel", batch: Mapping[str, Tensor]) -> Tensor | None:
    """The picture as the model sees it, (3, height, width) in 0..1: cut and scaled, without the processor's norms.

    None where the input is no picture.
    """
    if "pixel_values" not in batch:
        return None
    pixels = batch["pixel_values"][0].detach().float().cpu()
    processor = getattr(model.processor, "image_processor", model.processor)
    mean, spread = (getattr(processor, name, None) for name in ("image_mean", "image_std"))
    if mean is not None and spread is not None and getattr(processor, "do_normalize", True):
        pixels = pixels * pixels.new_tensor(spread)[:, None, None] + pixels.new_tensor(mean)[:, None, None]
    return pixels.clamp(0, 1)
