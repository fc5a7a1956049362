"""A small transformer whose tokens lie on a circle, on a line, or nowhere, and whose answers read where they lie."""

import math

import torch

import workbench
from workbench.models.small import SmallConfig, SmallTransformer, word_tokenizer

D = 16


def directions(seed: int = 3) -> torch.Tensor:
    """Orthonormal columns: of cos, sin, the value, and what is always there."""
    return torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(seed)))[0]


def planted_model(n: int, *, period: float | None = None, line: bool = False, noise: float = 0.05, blocks: int = 2):
    """A model of the tokens 0 ... n - 1 that passes the last token's state on, blocks adding nothing.

    The answer is the value whose angle is nearest (with a `period`) or that is nearest on the line.
    """
    config = SmallConfig(vocab_size=n + 1, n_ctx=8, n_layers=blocks, n_heads=2, d_model=D, d_head=4, d_mlp=0, norm=None)
    module = SmallTransformer(config).eval()
    u, v, w, always = directions().T[:4]
    at = torch.arange(n).float()[:, None]
    rows = noise * torch.randn(n, D, generator=torch.Generator().manual_seed(0)) + always
    answers = torch.zeros(n, D)
    if period is not None:
        angle = 2 * math.pi * at / period
        rows, answers = rows + 2 * (angle.cos() * u + angle.sin() * v), answers + angle.cos() * u + angle.sin() * v
    if line:
        rows, answers = rows + at / 5 * w, answers + 2 * at / 5 * w - (at / 5).square() * always
    with torch.no_grad():
        for block in module.blocks:
            for parameter in block.parameters():
                parameter.zero_()
        module.pos_embed.weight.zero_()
        module.embed.weight.zero_()
        module.unembed.weight.zero_()
        module.embed.weight[:n] = rows
        module.unembed.weight[:n] = answers
    return workbench.adapt(module, word_tokenizer([str(i) for i in range(n)]), name="planted")
