"""Streaming the residual stream of all layers to disk, against the bare forward pass over the same batches."""

import tempfile
from pathlib import Path

import torch

from tests.benchmarks.harness import Measured, bench, in_fresh_process, peak_memory, ratio, seconds

MODEL, BATCH, TOKENS = "smollm2-135m", 8, 128


def _inputs(model, count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randint(0, model.vocab_size, (count, TOKENS), generator=generator))


def growth(count: int) -> int:
    """Growth of the peak memory while `count` inputs are streamed; for a process of its own."""
    import workbench

    model = workbench.load(MODEL)
    inputs = _inputs(model, count)
    with tempfile.TemporaryDirectory() as folder:
        workbench.capture(model, inputs[:BATCH], model.stream("resid_post"), batch_size=BATCH, store=f"{folder}/warm")
        sites = model.stream("resid_post")
        return peak_memory(lambda: workbench.capture(model, inputs, sites, batch_size=BATCH, store=f"{folder}/store"))[
            1
        ]


@bench("resid_post of all layers to disk, speed", at_least=0.9, unit="x bare forward")
def speed() -> Measured:
    """Tokens per second of the whole capture (encoding, fingerprint and last sync included), pairwise median."""
    import workbench

    model = workbench.load(MODEL)
    inputs = _inputs(model, 96)

    @torch.no_grad()
    def bare() -> None:
        for first in range(0, len(inputs), BATCH):
            model.module(**model.encode(torch.stack(inputs[first : first + BATCH])), use_cache=False)

    def stream() -> float:
        with tempfile.TemporaryDirectory() as folder:
            sites = model.stream("resid_post")
            return seconds(lambda: workbench.capture(model, inputs, sites, batch_size=BATCH, store=Path(folder) / "s"))

    torch.no_grad()(lambda: model.module(**model.encode(inputs[0])))()
    return ratio(lambda: seconds(bare), stream, 3)


@bench("resid_post of all layers to disk, memory", at_most=1.1, unit="x at 4 times the inputs")
def memory() -> Measured:
    """Growth of peak resident memory with 96 inputs of 128 tokens over that with 24, each in a fresh process."""
    small, large = (in_fresh_process(f"{__name__}:growth", count) for count in (24, 96))
    return Measured(large / small, f"{large / 1e6:.0f} MB against {small / 1e6:.0f} MB.")
