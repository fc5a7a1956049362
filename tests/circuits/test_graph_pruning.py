"""What pruning takes away changes nothing: a model run with the pruned circuit answers as with the whole one."""

import pytest
import torch

from workbench import functional
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.split import recorded_writes, split


@pytest.mark.parametrize(
    ("family", "slots"),
    [("gpt2", "kv-head"), ("llama", "kv-head"), ("llama", "query-head"), ("neox", "kv-head"), ("bert", "kv-head")],
)
def test_dead_ends_carry_nothing(tiny, family, slots):
    wiring = split(tiny(family), slots=slots)
    graph, random = wiring.graph, torch.Generator().manual_seed(0)
    batches = [wiring.model.encode(torch.randint(5, 90, (2, 6), generator=random)) for _ in range(2)]
    clean, other = (recorded_writes(wiring, batch, torch.tensor([5, 5])) for batch in batches)
    kept = (torch.rand(12, *graph.exists.shape, generator=random) < 0.35) & graph.exists
    pruned = torch.stack([functional.prune_edges(one, graph.feeds) for one in kept])
    assert (pruned.flatten(1).sum(-1) < kept.flatten(1).sum(-1)).sum() >= 6
    assert pruned.any()
    whole, left = (run_circuit(wiring, clean, other.writes, circuits) for circuits in (kept, pruned))
    assert torch.allclose(whole, left, atol=1e-5)


def test_a_head_fed_by_queries_alone_answers_otherwise(tiny):
    """Why one slot is enough: to take such a head for dead would change what the circuit does."""
    wiring = split(tiny("gpt2"))
    graph, random = wiring.graph, torch.Generator().manual_seed(0)
    batches = [wiring.model.encode(torch.randint(5, 90, (1, 6), generator=random)) for _ in range(2)]
    clean, other = (recorded_writes(wiring, batch, torch.tensor([5])) for batch in batches)
    kept = torch.zeros_like(graph.exists)
    kept[graph.edge("a1.h0->logits")] = True
    none = run_circuit(wiring, clean, other.writes, kept)
    assert not functional.prune_edges(kept, graph.feeds).any()
    kept[graph.edge("input->a1.h0<q>")] = True
    some = run_circuit(wiring, clean, other.writes, kept)
    assert functional.prune_edges(kept, graph.feeds).sum() == 2
    assert (some - none).abs().max() > 1e-5
    assert torch.allclose(none, other.logits, atol=1e-5)
