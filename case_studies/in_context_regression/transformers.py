"""The models of this study read vectors: examples (x, y) and queries, and give each query a number.

Every position looks at the examples alone, so that each query is answered as if it stood there by itself.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import functional


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a softmax transformer."""

    d: int = 4
    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 32
    d_mlp: int = 64


class Block(nn.Module):
    """Softmax attention to the first `keys` positions, then an MLP, each after a LayerNorm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.n_heads = sizes.n_heads
        self.ln1, self.ln2 = nn.LayerNorm(sizes.d_model), nn.LayerNorm(sizes.d_model)
        self.W_Q, self.W_K, self.W_V, self.W_O = (nn.Linear(sizes.d_model, sizes.d_model, bias=False) for _ in range(4))
        self.mlp = nn.Sequential(
            nn.Linear(sizes.d_model, sizes.d_mlp), nn.GELU(), nn.Linear(sizes.d_mlp, sizes.d_model)
        )

    def forward(self, stream: Tensor, keys: int) -> Tensor:
        """Give the stream (batch, pos, d_model) after this layer."""
        normed = self.ln1(stream)
        queries, seen = normed, normed[:, :keys]
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in (self.W_Q(queries), self.W_K(seen), self.W_V(seen))
        )
        read = F.scaled_dot_product_attention(q, k, v)  # (batch, head, pos, d_head)
        stream = stream + self.W_O(read.transpose(1, 2).flatten(2))
        return stream + self.mlp(self.ln2(stream))


class SoftmaxRegressor(nn.Module):
    """A transformer over the tokens (x, y, 0) of examples and (x, 0, 1) of queries."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embed = nn.Linear(sizes.d + 2, sizes.d_model)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.n_layers))
        self.ln_final = nn.LayerNorm(sizes.d_model)
        self.readout = nn.Linear(sizes.d_model, 1)

    def states(self, x: Tensor, y: Tensor, queries: Tensor) -> list[Tensor]:
        """The stream (batch, n + query, d_model) before the first layer and after each."""
        examples = torch.cat([x, y[..., None], torch.zeros_like(y)[..., None]], -1)
        marks = torch.tensor([0.0, 1.0]).to(queries).expand(*queries.shape[:-1], 2)
        stream = self.embed(torch.cat([examples, torch.cat([queries, marks], -1)], 1))
        found = [stream]
        for block in self.blocks:
            found.append(block(found[-1], x.shape[1]))
        return found

    def forward(self, x: Tensor, y: Tensor, queries: Tensor) -> Float[Tensor, "batch query"]:
        """An answer for each query, from examples x (batch, n, d) and y (batch, n)."""
        last = self.states(x, y, queries)[-1]
        return self.readout(self.ln_final(last[:, x.shape[1] :]))[..., 0]


class LinearRegressor(nn.Module):
    """One layer of linear self-attention over tokens (x, y), two matrices and nothing else."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.key_query = nn.Parameter(0.05 * torch.randn(d + 1, d + 1))
        self.value = nn.Parameter(0.05 * torch.randn(d + 1, d + 1))

    def weights(self) -> functional.LinearAttentionWeights:
        """The two matrices as `workbench.functional` takes them."""
        return functional.LinearAttentionWeights(key_query=self.key_query, value=self.value)

    def forward(self, x: Tensor, y: Tensor, queries: Tensor) -> Float[Tensor, "batch query"]:
        """An answer for each query, from examples x (batch, n, d) and y (batch, n)."""
        tokens = torch.cat([x, y[..., None]], -1)
        asked = torch.cat([queries, torch.zeros_like(queries[..., :1])], -1)
        together = torch.cat([tokens, asked], 1)
        return -functional.linear_self_attention(together, self.weights(), keys=x.shape[1])[:, x.shape[1] :, -1]


def predictor(module: Any):
    """The module as `workbench.compare_algorithms` takes a predictor: one query for each problem."""
    return lambda x, y, query: module(x, y, query[:, None])[:, 0]
