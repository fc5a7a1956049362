"""Attention flow of all pairs, against scipy's maximum flow called pair by pair."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import maximum_flow

from tests.benchmarks.harness import Measured, bench
from workbench.functional import attention_flow

LAYERS, SAMPLE, ROUNDS, PARTS = 12, 40, 7, 2**30
TEXT = (
    "The lighthouse stood at the end of the long stone pier, and every evening the keeper climbed its narrow stairs to "
    "light the lamp. Ships passed far out on the dark water, carrying grain and timber, letters and strangers. In the "
    "village below, people set their clocks by that light, and children learned to count the seconds between its "
    "turns. Nobody could remember a night without it, until the winter when the keeper fell ill and his daughter took "
    "the keys. She had never been allowed past the second landing. The first night the wind put out her lantern twice, "
    "and she felt her way up along the cold wall, counting a hundred and eleven steps, afraid of what she would find."
)
REACTION = (
    "CCOC(=O)c1ccc(NC(=O)Cl)cc1.CCN(CC)CCN.O=C(O)c1ccccc1>>CCOC(=O)c1ccc(NC(=O)NCCN(CC)CC)cc1.CC(C)Cc1ccc(cc1)C(C)"
    "C(=O)O.CC(=O)Oc1ccccc1C(=O)O.CN1C=NC2=C1C(=O)N(C(=O)N2C)C"
)


def random_patterns(tokens: int, causal: bool) -> torch.Tensor:
    """(layer, head, query, key) attention of normally distributed scores, 12 heads."""
    scores = torch.randn(LAYERS, 12, tokens, tokens, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if causal:
        scores = scores.masked_fill(torch.ones(tokens, tokens).triu(1).bool(), -torch.inf)
    return scores.softmax(-1)


@torch.no_grad()
def real_patterns(tokens: int, causal: bool) -> torch.Tensor:
    """The first 12 layers of smollm2-135m on a text; all 12 of rxnmapper-albert on a reaction; cut to `tokens`."""
    import workbench

    model = workbench.load("smollm2-135m" if causal else "rxnmapper-albert")
    ids = model.encode(TEXT if causal else REACTION)["input_ids"][0]
    last = ids[:0] if causal else ids[-1:]  # the closing token stays
    if len(ids) < tokens:
        raise RuntimeError(f"The text has {len(ids)} tokens only.")
    sites = model.attention_sites(None, "pattern")[:LAYERS]
    with workbench.reading(model, sites) as values:
        model.module(**model.encode(torch.cat([ids[: tokens - len(last)], last])))
    patterns = torch.stack([values[site][0] for site in sites]).double()
    return patterns / patterns.sum(-1, keepdim=True)


def compare(patterns: torch.Tensor, causal: bool) -> Measured:
    """How many times as long scipy takes for a pair; both on one thread, in turns."""
    *_, n = patterns.shape
    maps = (0.5 * torch.eye(n) + 0.5 * patterns.mean(1)).numpy()
    layer, query, key = np.nonzero(maps)
    capacity = np.rint(maps[layer, query, key] * PARTS).astype(np.int32)
    graph = sp.csr_array((capacity, ((layer + 1) * n + query, layer * n + key)), shape=((LAYERS + 1) * n,) * 2)
    pairs = np.array([(f, t) for f in range(n) for t in range(f + 1 if causal else n)])
    sample = np.random.default_rng(0).choice(pairs, SAMPLE, replace=False)
    expected: list[float] = []

    def theirs() -> None:
        expected[:] = [maximum_flow(graph, LAYERS * n + f, t).flow_value / PARTS for f, t in sample]

    def ours() -> torch.Tensor:
        return attention_flow(patterns, layers=[-1])[0]

    found = ours()  # compiles
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        times = [(_seconds(theirs) / SAMPLE, _seconds(ours) / len(pairs)) for _ in range(ROUNDS)]
        torch.set_num_threads(2)
        both = statistics.median(_seconds(ours) / len(pairs) for _ in range(ROUNDS))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose([found[f, t].item() for f, t in sample], expected, rtol=0, atol=1e-6)
    ratios = sorted(theirs / ours for theirs, ours in times)
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return Measured(
        statistics.median(ratios),
        f"{1e3 * medians[0]:.2f} ms against {1e6 * medians[1]:.1f} us a pair; {ROUNDS} rounds, ratios "
        f"{ratios[0]:.0f} to {ratios[-1]:.0f}; on two threads {medians[0] / both:.0f}.",
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


for _tokens in (64, 128):
    for _causal in (True, False):
        for _kind, _patterns in (("random", random_patterns), ("real", real_patterns)):
            _way = "causal" if _causal else "bidirectional"

            @bench(f"all flows, {_tokens} tokens, {_way}, {_kind}", at_least=30, unit="x faster than scipy")
            def flows(make=_patterns, tokens: int = _tokens, causal: bool = _causal) -> Measured:
                """Last of 12 layers, all pairs, one thread; scipy: 40 pairs, in turns. Values agree to 1e-6."""
                return compare(make(tokens, causal), causal)
