"""The same numbers as TransformerLens where it computes the same thing: edges by gradients, exact paths, circuits.

Its attribution patching goes the other way: it starts at the corrupted prompt, takes the gradient there, and asks what
the clean write would add. With the prompts of a pair swapped ours asks the same, with the opposite sign: we score what
is lost. It tells positions apart, and its input is the token embedding alone, which differs by as much as our input.
"""

import copy
import warnings
from functools import cache, partial

import pytest
import torch

from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import edge_scores, runs
from workbench.circuits.exact import exact_scores
from workbench.circuits.node_scores import node_attributions
from workbench.circuits.split import split
from workbench.tasks.form import Pair
from workbench.testing import tiny_model

TARGETS, FOILS = torch.tensor([5, 6]), torch.tensor([7, 8])
PARTS = {"q_input": "q", "k_input": "k", "v_input": "v"}


@cache
def prepared(family):
    """Give the wiring, a pair, the pair the other way round, and a bridge of a copy of the model."""
    model = tiny_model(family)
    clean, corrupted = model.encode(["abcabc", "bcabca"]), model.encode(["abdabd", "dcabba"])
    last = torch.full((2,), clean["input_ids"].shape[1] - 1)
    answers = {"targets": TARGETS[:, None], "foils": FOILS[:, None], "position": last}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own imports
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        module = copy.deepcopy(model.module)
        bridge = build_bridge_from_module(
            module, type(module).__name__, hf_config=copy.deepcopy(module.config), tokenizer=None
        )
    bridge.eval()
    there = Pair(clean=clean, corrupted=corrupted, **answers)
    return split(model), there, Pair(clean=corrupted, corrupted=clean, **answers), bridge


def difference(logits, row=None):
    """Logit difference at the last position: of one example, or the mean of both."""
    rows = torch.arange(2) if row is None else torch.tensor([row])
    last = logits[:, -1]
    here = torch.arange(len(last))
    return (last[here, TARGETS[rows]] - last[here, FOILS[rows]]).mean()


def source_name(node):
    return {"embed": "input", "attn_head_out": f"a{node.layer}.h{node.head}", "mlp_out": f"m{node.layer}"}[node.kind]


def slot_name(node):
    if node.kind in PARTS:
        return f"a{node.layer}.h{node.head}<{PARTS[node.kind]}>"
    return {"mlp_in": f"m{node.layer}", "logits": "logits"}[node.kind]


@pytest.mark.parametrize("family", ["gpt2", "neox"])
def test_edges_by_gradients(family):
    from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

    wiring, there, back, bridge = prepared(family)
    graph, config = wiring.graph, EdgeAttributionConfig(granularity="edge")
    whole, nodes = torch.zeros(len(there.clean["input_ids"][0]), *graph.exists.shape), torch.zeros(wiring.n_sources)
    for row in range(2):  # its metric is that of one example
        clean, corrupted = (pair.clean["input_ids"][row : row + 1] for pair in (there, back))
        found = attribution_patch(bridge, clean, corrupted, partial(difference, row=row), config=config)
        for (source, slot), score in found.edge_scores.items():
            assert source.position == slot.position
            place = source.position, graph.source_index(source_name(source)), graph.slot_index(slot_name(slot))
            whole[place] += score / 2
        for node, score in found.node_scores.items():
            nodes[graph.source_index(source_name(node))] += score / 2
    ours = edge_scores(wiring, [back], "logit-diff", method="eap", positions=True)
    assert len(found.edge_scores) == len(whole) * graph.n_edges
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(-ours.nan_to_num(), whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(-node_attributions(wiring, [back], "logit-diff"), nodes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "neox"])
def test_exact_paths_between_heads(family):
    from transformer_lens.patching import get_act_patch_direct_path_all_sources

    wiring, there, back, bridge = prepared(family)
    (_, clean), (logits, corrupted) = (bridge.run_with_cache(pair.clean["input_ids"]) for pair in (there, back))
    ours = exact_scores(wiring, [back], "logit-diff")
    for part in "qkv":
        theirs = get_act_patch_direct_path_all_sources(
            bridge, back.clean["input_ids"], clean, corrupted, difference, component=part, verbose=False
        )
        assert (theirs[0, :, 1] - difference(logits)).abs().max() > 1e-5
        for source in range(2):
            for head in range(2):
                mine = ours[wiring.graph.edge(f"a0.h{source}->a1.h{head}<{part}>")]
                torch.testing.assert_close(difference(logits) - mine, theirs[0, source, 1, head], rtol=0, atol=1e-6)


def test_faithfulness_of_a_circuit():
    from transformer_lens.tools.analysis.attribution_patching import (
        EdgeAttributionConfig,
        attribution_patch,
        faithfulness,
    )

    wiring, there, _, bridge = prepared("gpt2")
    kept = wiring.graph.exists & (
        torch.rand(wiring.graph.exists.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    )
    one = next(runs(wiring, [there]))
    answered = [difference(x[:1, None], 0) for x in (
        run_circuit(wiring, one.clean, one.other, kept), one.clean.logits, one.corrupted.logits)]  # fmt: skip
    ours = (answered[0] - answered[2]) / (answered[1] - answered[2])
    clean, corrupted = there.clean["input_ids"][:1], there.corrupted["input_ids"][:1]
    metric = partial(difference, row=0)
    edges = attribution_patch(bridge, clean, corrupted, metric, config=EdgeAttributionConfig(granularity="edge"))
    names = set(wiring.graph.with_(kept=kept).kept_edges())
    circuit = [edge for edge in edges.edge_scores if f"{source_name(edge[0])}->{slot_name(edge[1])}" in names]
    theirs = faithfulness(bridge, clean, corrupted, metric, circuit)
    assert abs(theirs.recovered - 1) > 0.01
    assert ours.item() == pytest.approx(theirs.recovered, abs=1e-4)
