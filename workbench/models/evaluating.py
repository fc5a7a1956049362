"""A model as it is when it answers, not as it is while it learns: dropout off, gradients possible."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every submodule in evaluation mode, and each back as it was; inside `torch.inference_mode` leave that too."""
    learning = [each for each in module.modules() if each.training]
    for each in learning:
        each.training = False
    try:
        with torch.inference_mode(False):
            yield
    finally:
        for each in learning:
            each.training = True
