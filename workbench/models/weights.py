"""Are all weights of a module finite? One pass, no copy, quantised ones included."""

from collections.abc import Iterator

import torch
from torch import nn


def not_finite(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Name of each weight that holds NaN or infinity, and how many."""
    for name, parameter in module.named_parameters():
        weight = parameter.detach()
        if type(weight) is not torch.Tensor and type(weight) is not nn.Parameter and hasattr(weight, "dequantize"):
            weight = weight.dequantize()  # torchao's tensors know few operations
        if weight.is_floating_point() and weight.numel() and not weight.is_meta:
            least, most = torch.aminmax(weight)  # both are NaN if any weight is
            if not (torch.isfinite(least) and torch.isfinite(most)):
                yield name, int((~torch.isfinite(weight)).sum())
