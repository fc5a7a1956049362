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
    """A PIL image from a path, a PIL image, or an array (height, width, 3); `example` is built in.

    Whole numbers in an array are 0..255, floating-point numbers and booleans are 0..1. An array may also be grey,
    (height, width), or have transparency, (height, width, 4). Raises `BadInput` for anything else, and for NaN.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(x, Image.Image):
        return x.convert("RGB")
    if isinstance(x, np.ndarray):
        return Image.fromarray(_bytes(x)).convert("RGB")
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


def _bytes(x: np.ndarray) -> np.ndarray:
    """An array of a picture as 0..255, or what is wrong with it."""
    if x.ndim == 3 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[-1] not in (3, 4)) or not x.size:
        raise BadInput(f"An array of a picture has the shape (height, width, 3) or (height, width), not {x.shape}.")
    if x.dtype.kind not in "buif":
        raise BadInput(f"An array of a picture holds numbers, not {x.dtype}.")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise BadInput(f"The array of a picture holds {bad} of {x.size} values that are NaN or infinite: replace them.")
    top = 255 if x.dtype.kind in "iu" else 1
    if x.min() < 0 or x.max() > top:
        kind = "whole" if top == 255 else "floating-point"
        advice = "" if top == 255 else " Divide 0..255 by 255, or make whole numbers of it."
        raise BadInput(
            f"An array of a picture in {kind} numbers is 0..{top}; this one is {x.min():g} to {x.max():g}.{advice}"
        )
    return x.astype(np.uint8) if top == 255 else np.rint(x.astype(np.float64) * 255).astype(np.uint8)


def _picture(size: int = 224) -> np.ndarray:
    """A red disc on a blue-green slope: something with a place, an edge and a colour."""
    y, x = np.mgrid[0:size, 0:size] / size
    picture = np.stack([0.2 + 0 * x, x, y], -1)
    picture[(x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.05] = [0.9, 0.1, 0.1]
    return (picture * 255).astype(np.uint8)


def audio(x: Any, rate: int) -> np.ndarray:
    """One channel of samples in -1..1 at `rate` per second, from a .wav path or an array at that rate.

    Whole numbers, in a file or an array, are scaled by their largest. Raises `BadInput` for NaN and what is no sound.
    """
    if isinstance(x, Tensor):
        x = x.cpu().numpy()
    if isinstance(x, np.ndarray) and x.ndim == 1 and len(x):
        return _wave(x)
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
    wave = _wave(samples)
    wave = wave.mean(-1) if wave.ndim == 2 else wave
    common = gcd(found, rate)
    return resample_poly(wave, rate // common, found // common).astype(np.float32)


def _wave(samples: np.ndarray) -> np.ndarray:
    """Samples in -1..1; whole numbers without a sign are silent in the middle, as in 8-bit .wav files."""
    if samples.dtype.kind not in "uif":
        raise BadInput(f"A sound is made of numbers, not {samples.dtype}.")
    if bad := int((~np.isfinite(samples)).sum()):
        raise BadInput(f"{bad} of the {samples.size} samples of the sound are NaN or infinite: replace them.")
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    most = np.iinfo(samples.dtype).max
    middle = (most + 1) // 2 if samples.dtype.kind == "u" else 0
    return ((samples.astype(np.float64) - middle) / (most - middle)).astype(np.float32)


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
