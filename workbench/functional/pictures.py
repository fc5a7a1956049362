"""Small pictures of large patterns: attention patterns pooled to a few dozen pixels, one byte each."""

from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def thumbnails(
    pattern: Float[Tensor, "*heads query key"],
    size: int = 48,
    *,
    pooling: Literal["max", "area"] = "max",
    stretch: bool = False,
) -> UInt8[Tensor, "*heads height width"]:
    """Attention patterns as pictures of at most `size` pixels a side, 0 for no attention to 255 for all of it.

    `max` keeps a thin diagonal visible however long the prompt; `area` keeps each pixel the mean of what it covers.
    Sides shorter than `size` are left as they are. `stretch` gives each picture's largest value 255 instead.
    Undefined entries (NaN) are drawn as 0. One head at a time is held in float32.
    """
    height, width = (min(n, size) for n in pattern.shape[-2:])
    heads = pattern.reshape(-1, 1, *pattern.shape[-2:])
    pool = torch.nn.functional.adaptive_max_pool2d if pooling == "max" else torch.nn.functional.adaptive_avg_pool2d
    pictures = heads.new_empty((len(heads), height, width), dtype=torch.uint8)
    for i, head in enumerate(heads):
        picture = pool(head.float().nan_to_num(0.0), (height, width))[0]
        top = picture.max().clamp_min(torch.finfo(torch.float32).tiny) if stretch else 1.0
        pictures[i] = (picture / top * 255).round().clamp(0, 255).to(torch.uint8)
    return pictures.reshape(*pattern.shape[:-2], height, width)
