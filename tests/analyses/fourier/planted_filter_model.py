"""A model that adds up two parts by construction: attention writes a comb, the MLP a hump, and both are needed."""

import math

import torch
from torch import Tensor

import workbench
from workbench.models.small import SmallConfig, SmallTransformer, word_tokenizer

N, PERIOD, OFF = 60, 10, 2
"""Values; the comb has a tooth at the right one and every 10th from it, and the hump is 2 too far."""
TEETH = tuple(range(N // PERIOD, N // 2 + 1, N // PERIOD))
LOW = range(1, 6)


def waves(frequencies, shift: int) -> Tensor:
    """(value asked, value answered): a sum of cosines around the value `shift` after the one that is asked."""
    away = torch.arange(N)[None, :] - torch.arange(N)[:, None] - shift
    return sum(torch.cos(2 * math.pi * k * away.double() / N) for k in frequencies)


def planted() -> workbench.LensModel:
    """Reads "x =" and answers x: attention at "=" writes frequencies 6, 12 ... 30 of x, the MLP 1 to 5 of x + 2.

    The stream has room for the value read, the value looked at, the logits, and two marks of the positions.
    """
    words = [*map(str, range(N)), "="]
    config = SmallConfig(vocab_size=N + 2, n_ctx=2, n_layers=1, n_heads=1, d_model=3 * N + 2, d_head=N + 1, d_mlp=N)
    module = SmallTransformer(config)
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    read, looked, logits = (slice(i * N, (i + 1) * N) for i in range(3))
    eye, attn, mlp = torch.eye(N), module.blocks[0].attn, module.blocks[0].mlp
    with torch.no_grad():
        module.embed.weight[:N, read] = eye
        module.pos_embed.weight[:, 3 * N :] = torch.eye(2)
        attn.W_Q.weight[N, 3 * N + 1] = 1e3  # "=" looks at the first position
        attn.W_K.weight[N, 3 * N] = 1.0
        attn.W_V.weight[:N, read] = eye
        attn.W_O.weight[looked, :N] = eye
        attn.W_O.weight[logits, :N] = waves(TEETH, 0).T.float()
        mlp.W_in.weight[:, looked] = eye
        mlp.W_out.weight[logits] = waves(LOW, OFF).T.float()
        module.unembed.weight[:N, logits] = eye
    return workbench.adapt(module.eval(), word_tokenizer(words), name="planted")
