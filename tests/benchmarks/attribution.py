"""Token attribution with its fast methods, against the eager forward pass of the same prompt."""

import time
from collections.abc import Callable
from typing import Any

import torch

from tests.benchmarks.harness import Measured, bench, ratio, seconds

MODEL, TOKENS = "smollm2-135m", 64
METHODS = ("raw", "rollout", "flow", "relevance", "n-res", "alti", "saliency", "input-x-gradient")


def processor_seconds(work: Callable[[], Any]) -> float:
    """Time of one call on all processors together, which other work on the machine disturbs less than the clock."""
    start = time.process_time()
    work()
    return time.process_time() - start


@bench("token-attribution, eight fast methods at 64 tokens", at_most=15, unit="x the eager forward")
def fast_methods() -> Measured:
    """Pairwise median of alternating runs on smollm2-135m: the whole analysis without its causal check, which needs
    one forward a token and is told apart, as is each method that does.
    """
    import workbench
    from workbench.analyses.attribution.methods import methods

    model = workbench.load(MODEL)
    ids = torch.randint(0, model.vocab_size, (TOKENS,), generator=torch.Generator().manual_seed(0))
    batch = model.encode(ids)

    @torch.no_grad()
    def forward() -> None:
        before = model.module.config._attn_implementation
        model.module.set_attn_implementation("eager")
        try:
            model.module(**batch, use_cache=False)
        finally:
            model.module.set_attn_implementation(before)

    def attribute(names: tuple[str, ...], check: str = "none") -> Callable[[], None]:
        def work() -> None:
            found = workbench.token_attribution(model, ids, methods=names, check=check)
            assert found.methods == names, found.left_out

        return work

    ours = attribute(METHODS)
    for warm in (forward, ours):
        warm()
    measured = ratio(lambda: seconds(ours), lambda: seconds(forward), 9)
    by_processor = ratio(lambda: processor_seconds(ours), lambda: processor_seconds(forward), 5).value
    one = sorted(seconds(forward) for _ in range(5))[2]
    each = {name: seconds(attribute((name,))) / one for name in METHODS}
    slow = [one.name for one in methods().values() if one.cost == "one forward a token" and not one.missing(model)]
    apart = {name: seconds(attribute((name,))) / one for name in slow}
    apart["causal check"] = seconds(attribute(("raw",), "replace")) / one - each["raw"]
    note = f"{measured.note}; by processor time {by_processor:.1f}. Alone, in forward passes: {_list(each)}."
    return Measured(measured.value, f"{note} Told apart: {_list(apart)}.")


def _list(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name} {number:.1f}" for name, number in numbers.items())
