"""Routes of one prediction: time against the bare forward pass, memory, and time against patching every edge."""

from collections.abc import Callable
from typing import Any

import torch

from tests.benchmarks.attribution import processor_seconds
from tests.benchmarks.circuits import induction_pairs, one_run_an_edge
from tests.benchmarks.harness import Measured, bench, in_fresh_process, peak_memory, ratio, seconds

MODEL, MB = "smollm2-135m", 1e6


def asked(model: Any, tokens: int) -> torch.Tensor:
    """Random tokens of the model."""
    return torch.randint(0, model.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0))


@bench("routes of one prediction at 128 tokens", at_most=3, unit="x the bare forward")
def one_prediction() -> Measured:
    """Pairwise median of alternating runs on smollm2-135m: the whole analysis at threshold 0.04, with all that those
    from 0.01 on need, at positions reached only; the full graph and other ways are told apart.
    """
    import workbench

    model = workbench.load(MODEL)
    ids = asked(model, 128)
    batch = model.encode(ids)

    @torch.no_grad()
    def forward() -> None:
        model.module(**batch, use_cache=False)

    def trace(**how: Any) -> Callable[[], Any]:
        return lambda: workbench.get("routes")(model, ids, **how)

    ours = trace(threshold=0.04)
    for warm in (forward, ours):
        warm()
    measured = ratio(lambda: seconds(ours), lambda: seconds(forward), 9)
    by_processor = ratio(lambda: processor_seconds(ours), lambda: processor_seconds(forward), 5).value
    ways = {"full graph": {"full": True}, "l2": {"norm": "l2"}, "without 2 coordinates": {"drop": 2}}
    apart = []
    for name, how in ways.items():
        other = trace(**how)
        other()
        apart.append(f"{name} {ratio(lambda other=other: seconds(other), lambda: seconds(forward), 3).value:.1f}")
    edges = ours().n_kept[3].item()
    return Measured(
        measured.value,
        f"{measured.note}; by processor time {by_processor:.1f}. {edges} edges. Told apart: {', '.join(apart)}.",
    )


def extra_memory(tokens: int, blocks: int) -> list[int]:
    """Peak bytes over what was held before: of routes, and of the bare forward, with the model's first blocks."""
    import workbench

    model: Any = workbench.load(MODEL)
    if blocks < model.n_blocks:
        model.module.model.layers = model.module.model.layers[:blocks]
        model.module.config.num_hidden_layers = blocks
        model = workbench.adapt(model.module, model.processor)
    batch = model.encode(asked(model, tokens))
    routes = workbench.get("routes")
    routes(model, asked(model, 8))  # compiles, and fills caches of libraries

    @torch.no_grad()
    def forward() -> None:
        model.module(**batch, use_cache=False)

    bare = peak_memory(forward)[1]
    return [peak_memory(lambda: routes(model, asked(model, tokens)))[1], bare]


@bench("routes of one prediction at 128 tokens, memory", at_most=300, unit="MB over the model")
def memory() -> Measured:
    """Peak resident memory of a fresh process over what it held before the analysis."""
    ours, bare = in_fresh_process("tests.benchmarks.routes:extra_memory", 128, 30)
    return Measured(ours / MB, f"the bare forward takes {bare / MB:.0f} MB.")


@bench("routes of one prediction at 512 tokens, memory by blocks", at_most=1.1, unit="x a share of 30")
def memory_by_blocks() -> Measured:
    """Memory that each of 15 more blocks takes, over a thirtieth of what all 30 take: 1 or less is linear or better."""
    half, whole = (in_fresh_process("tests.benchmarks.routes:extra_memory", 512, n) for n in (15, 30))
    ours, bare = (whole[i] / MB for i in range(2))
    each = (whole[0] - half[0]) / 15 / MB
    note = f"{each:.1f} MB a block, {ours:.0f} MB for 30, {half[0] / MB:.0f} for 15; the bare forward takes {bare:.0f}"
    return Measured(each / (ours / 30), f"{note}.")


@bench("routes against exact patching of 81 edges", at_least=5, unit="x as fast")
def against_patching() -> Measured:
    """Micro model, one prompt of 24 tokens, pairwise median: torch hooks, one forward pass an edge, over routes."""
    import workbench
    from workbench.circuits.exact import exact_scores
    from workbench.circuits.split import split
    from workbench.tasks.form import Pair

    model, pairs = induction_pairs()
    clean, corrupted = ({name: x[:1] for name, x in side.items()} for side in (pairs.clean, pairs.corrupted))
    pair = Pair(clean=clean, corrupted=corrupted, targets=pairs.targets[:1], foils=pairs.foils[:1],
                position=pairs.position[:1])  # fmt: skip
    ids, wiring = clean["input_ids"], split(model)

    def ours() -> None:
        workbench.get("routes")(model, ids)

    def exact() -> None:
        exact_scores(wiring, [pair], "logit-diff")

    def hooks() -> None:
        one_run_an_edge(model.module, pair, 1)

    for warm in (ours, exact, hooks):
        warm()
    found = ratio(lambda: seconds(hooks), lambda: seconds(ours), 9)
    batched = ratio(lambda: seconds(exact), lambda: seconds(ours), 9)
    note = f"{wiring.graph.n_edges} edges; {found.note}. Against our own exact patching {batched.value:.1f}."
    return Measured(found.value, note)
