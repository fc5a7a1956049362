"""Reading all patterns and three residual points, against transformers' own output of attentions and hidden states."""

from collections.abc import Callable
from contextlib import contextmanager

import torch

from tests.benchmarks.harness import Measured, bench, in_fresh_process, peak_memory, ratio, seconds

MODEL = "smollm2-135m"


@contextmanager
def _eager(module):
    before = module.config._attn_implementation
    module.set_attn_implementation("eager")
    try:
        yield
    finally:
        module.set_attn_implementation(before)


def both_ways(tokens: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """The forward pass with our reading, and with transformers' own outputs."""
    import workbench

    model = workbench.load(MODEL)
    ids = torch.randint(0, model.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0))
    batch = model.encode(ids)
    points = ("resid_pre", "resid_mid", "resid_post")
    sites = [*model.attention_sites(None, "pattern"), *(site for point in points for site in model.stream(point))]

    @torch.no_grad()
    def ours() -> None:
        with workbench.reading(model, sites) as values:
            model.module(**batch, use_cache=False)
        assert len(values) == len(sites)

    @torch.no_grad()
    def theirs() -> None:
        with _eager(model.module):
            found = model.module(**batch, use_cache=False, output_attentions=True, output_hidden_states=True)
        assert found.attentions[-1] is not None

    return ours, theirs


def peak(ours: bool, tokens: int) -> tuple[int, int]:
    """Peak memory of one forward pass, and its growth over the loaded model; for a process of its own."""
    work = both_ways(tokens)[0 if ours else 1]
    short = both_ways(4)[0 if ours else 1]
    short()  # what is allocated once, whatever the length
    return peak_memory(work)


def _time(tokens: int, rounds: int) -> Measured:
    ours, theirs = both_ways(tokens)
    for warm in (ours, theirs):
        warm()
    return ratio(lambda: seconds(ours), lambda: seconds(theirs), rounds)


def _memory(tokens: int) -> Measured:
    peaks, grown = [], []
    for _ in range(3):
        (ours, more), (theirs, less) = (in_fresh_process(f"{__name__}:peak", which, tokens) for which in (True, False))
        peaks.append(ours / theirs)
        grown.append(f"{more / 1e6:.0f} against {less / 1e6:.0f}")
    return Measured(sorted(peaks)[1], f"Growth over the loaded model, MB: {', '.join(grown)}.")


@bench("patterns and residuals, time at 128 tokens", at_most=1.10, unit="x eager with outputs")
def time_128() -> Measured:
    """Pairwise median of alternating runs on smollm2-135m, use_cache=False."""
    return _time(128, 15)


@bench("patterns and residuals, time at 512 tokens", at_most=1.10, unit="x eager with outputs")
def time_512() -> Measured:
    """Pairwise median of alternating runs on smollm2-135m, use_cache=False."""
    return _time(512, 9)


@bench("patterns and residuals, memory at 128 tokens", at_most=1.2, unit="x eager with outputs")
def memory_128() -> Measured:
    """Peak resident memory of one forward pass, model included, each in a fresh process, median of three."""
    return _memory(128)


@bench("patterns and residuals, memory at 512 tokens", at_most=1.2, unit="x eager with outputs")
def memory_512() -> Measured:
    """Peak resident memory of one forward pass, model included, each in a fresh process, median of three."""
    return _memory(512)
