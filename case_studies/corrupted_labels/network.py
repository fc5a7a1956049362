"""The network of the paper: two tables of operands added, squared, and read out; without biases."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import pad

PAIRS_AT_ONCE = 1024
"""So many that what is computed for them stays in a processor's cache."""
TABLES = ("left", "right", "out")


class QuadraticNetwork(nn.Module):
    """f(a, b) = out (left[a] + right[b])^2, every table (p, neuron): a row a number, a column a neuron."""

    def __init__(self, p: int, neurons: int, generator: torch.Generator | None = None) -> None:
        """Weights of variance (16 neurons)^(-2/3), as in the paper."""
        super().__init__()
        for name in TABLES:
            table = torch.randn(p, neurons, generator=generator) * (16 * neurons) ** (-1 / 3)
            self.register_parameter(name, nn.Parameter(table))

    left: Tensor
    right: Tensor
    out: Tensor

    def hidden(self, pairs: Tensor) -> Tensor:
        """What every neuron gives for pairs (pair, 2): (pair, neuron)."""
        return (self.left[pairs[:, 0]] + self.right[pairs[:, 1]]).square()

    def forward(self, pairs: Tensor) -> Tensor:
        """The outputs (pair, p)."""
        return torch.cat([self.hidden(some) @ self.out.T for some in pairs.split(PAIRS_AT_ONCE)])

    def loss(self, pairs: Tensor, labels: Tensor) -> Tensor:
        """Mean squared distance of the outputs to one at the label and zero elsewhere."""
        return _MeanSquare.apply(self.left, self.right, self.out, pairs[:, 0], pairs[:, 1], labels)  # pyright: ignore[reportReturnType]


class _MeanSquare(torch.autograd.Function):
    """The loss and its gradients in one pass through the pairs: half the time of what autograd makes of `forward`."""

    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, out: Tensor, first: Tensor, second: Tensor, labels: Tensor
    ) -> Tensor:
        by_left, by_right, by_out = (torch.zeros_like(table) for table in (left, right, out))
        total = out.new_zeros(())
        for a, b, label in zip(*(x.split(PAIRS_AT_ONCE) for x in (first, second, labels)), strict=True):
            summed = left[a] + right[b]
            hidden = summed * summed
            miss = hidden @ out.T
            miss[torch.arange(len(label)), label] -= 1
            total += miss.square().sum()
            by_out.addmm_(miss.T, hidden)
            back = (miss @ out) * summed
            by_left.index_add_(0, a, back)
            by_right.index_add_(0, b, back)
        count = len(labels) * len(out)
        ctx.save_for_backward(by_left * (4 / count), by_right * (4 / count), by_out * (2 / count))
        return total / count

    @staticmethod
    def backward(ctx: Any, *outside: Tensor) -> Any:
        return *(outside[0] * gradient for gradient in ctx.saved_tensors), None, None, None


def save_network(network: QuadraticNetwork, path: Path, provenance: Mapping[str, Any]) -> None:
    """Write the tables in float16, with where they are from. Neurons that are zero in float16 are counted instead."""
    tables = {name: getattr(network, name).detach().half() for name in TABLES}
    alive = torch.stack([table.abs().amax(0) for table in tables.values()]).amax(0) > 0
    header = {"provenance": json.dumps(provenance), "zero": str(int((~alive).sum()))}
    save_file({name: table[:, alive].contiguous() for name, table in tables.items()}, path, metadata=header)


def load_network(path: Path) -> tuple[QuadraticNetwork, dict[str, Any]]:
    """Give the network and where it is from; neurons that were zero come last."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        tables = [file.get_tensor(name).float() for name in TABLES]
    left, right, out = (pad(table, (0, int(header["zero"]))) for table in tables)
    return network_of(left, right, out), json.loads(header["provenance"])


def network_of(left: Tensor, right: Tensor, out: Tensor) -> QuadraticNetwork:
    """The network of three given tables (p, neuron)."""
    network = QuadraticNetwork(left.shape[0], left.shape[1])
    with torch.no_grad():
        for name, table in zip(TABLES, (left, right, out), strict=True):
            getattr(network, name).copy_(table)
    return network.requires_grad_(False).eval()
