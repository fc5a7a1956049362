"""What rollout costs beside the matrix products that it cannot do without."""

from collections.abc import Callable

import torch

from tests.benchmarks.harness import Measured, bench, ratio, seconds
from workbench.functional import attention_rollout, head_mean


def against_products(n_layers: int, n_heads: int, n_tokens: int, *, calls: int, rounds: int) -> Measured:
    """Rollout of all heads' patterns, against multiplying maps that are already mean over heads and mixed.

    A time is that of several calls: one call at 128 tokens takes less than a turn of a busy machine.
    """
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(n_layers, n_heads, n_tokens, n_tokens, generator=generator).softmax(-1)
    maps = (head_mean(patterns) + torch.eye(n_tokens)) / 2

    def products() -> None:
        product = maps[0]
        for layer in maps[1:]:
            product = layer @ product

    def ours() -> None:
        attention_rollout(patterns)

    def several(work: Callable[[], None]) -> float:
        return seconds(lambda: [work() for _ in range(calls)]) / calls

    for warm_up in (products, ours):
        several(warm_up)
    return ratio(lambda: several(ours), lambda: several(products), rounds)


@bench("rollout, 12 layers, 12 heads, 128 tokens", at_most=2, unit="x its matrix products")
def small() -> Measured:
    """Mean over heads, checks and all layers kept, against the bare products in turns."""
    return against_products(12, 12, 128, calls=10, rounds=101)


@bench("rollout, 30 layers, 9 heads, 512 tokens", at_most=2, unit="x its matrix products")
def large() -> Measured:
    """The same at the size of the default model."""
    return against_products(30, 9, 512, calls=1, rounds=11)
