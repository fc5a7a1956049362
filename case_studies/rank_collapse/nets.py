"""Small random networks in double precision: attention with skip connections, MLPs and norms, or without them.

Weights are normal with variance 1 / (numbers read), states normal with variance 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

POSITIONS, WIDTH, HEADS, LAYERS, HIDDEN = 32, 16, 4, 8, 64
Where = Literal["none", "before", "after"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a network has, and what its attention is."""

    skip: bool = False
    mlp: bool = False
    norm: Where = "none"
    """Before each sublayer, or after each sum (of the sublayer's output alone, without skip connections)."""
    sharpness: float = 1.0
    """What the logits of attention are multiplied by: 0 is uniform attention."""
    identity: bool = False
    """Every position attends to itself alone."""
    causal: bool = False
    """No position sees those after it, as in decoders."""
    plain_values: bool = False
    """W_V W_O is the identity, shared out over the heads."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """One network on one sequence."""

    states: tuple[Tensor, ...]
    """(pos, d) before the first layer and after each."""
    patterns: Tensor
    """(layer, head, pos, pos)."""
    maps: Tensor
    """(layer, head, d, d): W_V W_O of each head."""


KINDS: Mapping[str, Kind] = {
    "attention alone": Kind(),
    "attention and MLP": Kind(mlp=True),
    "attention and skip": Kind(skip=True),
    "full": Kind(skip=True, mlp=True),
    "attention alone, norm before": Kind(norm="before"),
    "attention alone, norm after": Kind(norm="after"),
    "full, norm before": Kind(skip=True, mlp=True, norm="before"),
    "full, norm after": Kind(skip=True, mlp=True, norm="after"),
    "attention alone, causal": Kind(causal=True),
    "uniform attention": Kind(sharpness=0.0),
    "identity attention": Kind(identity=True, plain_values=True),
    "identity attention, random values": Kind(identity=True),
}


@torch.no_grad()
def run(kind: Kind, seed: int, layers: int = LAYERS) -> Run:
    """The same weights and states for every kind of network with a seed."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-2] ** 0.5

    x = normal(POSITIONS, WIDTH) * POSITIONS**0.5
    states, patterns, maps = [x], [], []
    for _ in range(layers):
        w_q, w_k, w_v = (normal(HEADS, WIDTH, WIDTH // HEADS) for _ in range(3))
        w_o = normal(WIDTH, WIDTH).unflatten(0, (HEADS, WIDTH // HEADS))
        w_in, w_out = normal(WIDTH, HIDDEN), normal(HIDDEN, WIDTH)
        w = torch.eye(WIDTH).double().expand(HEADS, -1, -1) / HEADS if kind.plain_values else w_v @ w_o
        read = _normed(x) if kind.norm == "before" else x
        logits = (read @ w_q) @ (read @ w_k).mT / (WIDTH // HEADS) ** 0.5
        if kind.causal:
            logits = logits.masked_fill(torch.ones_like(logits[0]).triu(1).bool(), -torch.inf)
        pattern = torch.eye(POSITIONS).double().expand(HEADS, -1, -1)
        pattern = pattern if kind.identity else (kind.sharpness * logits).softmax(-1)
        x = _added(kind, x, (pattern @ read @ w).sum(0))
        if kind.mlp:
            read = _normed(x) if kind.norm == "before" else x
            x = _added(kind, x, (read @ w_in).relu() @ w_out)
        states.append(x)
        patterns.append(pattern)
        maps.append(w)
    return Run(states=tuple(states), patterns=torch.stack(patterns), maps=torch.stack(maps))


def _added(kind: Kind, x: Tensor, new: Tensor) -> Tensor:
    x = x + new if kind.skip else new
    return _normed(x) if kind.norm == "after" else x


def _normed(x: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(x, (WIDTH,), eps=0.0)
