"""What sinks and massive activations cost beside the forward pass that they are read from."""

from collections.abc import Callable
from functools import cache

import torch

from tests.benchmarks.harness import Measured, bench, ratio, seconds

TOKENS = 128


@cache
def _model_and_ids():
    import workbench

    model = workbench.load("smollm2-135m")
    ids = torch.randint(0, model.vocab_size, (TOKENS,), generator=torch.Generator().manual_seed(0))
    return model, ids.tolist()


def against_a_pass(name: str, rounds: int, **options) -> Measured:
    """An analysis of random tokens, in turns with the plain forward pass."""
    import workbench

    model, ids = _model_and_ids()
    batch = model.encode(ids)

    def plain() -> None:
        with torch.no_grad():
            model.module(**batch, use_cache=False)

    ours: Callable[[], object] = lambda: getattr(workbench, name)(model, ids, **options)  # noqa: E731
    for warm_up in (plain, ours):
        warm_up()
    return ratio(lambda: seconds(ours), lambda: seconds(plain), rounds)


@bench("attention sinks, 30 layers, 128 tokens", at_most=1.5, unit="x the forward pass")
def sinks() -> Measured:
    """All masses, values and states of smollm2-135m, pairwise median of alternating runs."""
    return against_a_pass("attention_sinks", 9)


@bench("massive activations, 30 layers, 128 tokens", at_most=1.5, unit="x the forward pass")
def massive() -> Measured:
    """The largest three, the median and all that is massive after each layer, pairwise median of alternating runs."""
    return against_a_pass("massive_activations", 9)


@bench("zero, mean and five controls, 128 tokens", at_most=16, unit="x the forward pass")
def interventions() -> Measured:
    """Ten passes over the prompt, and one over sixteen sentences for the means; pairwise median of alternating runs."""
    return against_a_pass("massive_interventions", 3)
