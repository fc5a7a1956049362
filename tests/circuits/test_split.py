"""Models taken apart into edges, in every family that can be: against the model, and against small differences."""

from functools import cache

import pytest
import torch

from workbench.circuits.blocks import answers, run_blocks
from workbench.circuits.circuit_run import run_circuit
from workbench.circuits.edge_scores import edge_scores, path_shares, runs
from workbench.circuits.split import constants, split
from workbench.errors import BadInput, MissingCapability, UnknownName
from workbench.tasks.form import Pair
from workbench.testing import FAMILIES, example_input, tiny_model

FOLLOWED = ("gpt2", "llama", "neox", "bert", "albert", "electra", "vit", "micro")
PRECISE = tuple(name for name in FOLLOWED if name != "llama")  # whose norms are in single precision, whatever comes


@cache
def model_of(family):
    model = tiny_model(family)
    model.module.double()
    return model


def pair_of(model, size=2):
    torch.manual_seed(0)
    if model.reads == "text":
        clean = model.encode(["abcabcabc", "bcabcabca"][:size])
        corrupted = model.encode(["abdabdabd", "bceabaebc"][:size])
    else:
        clean = {name: x.double() for name, x in model.encode(example_input("vit")).items()}
        corrupted = {name: x + torch.randn_like(x) for name, x in clean.items()}
    size = len(next(iter(clean.values())))
    return Pair(
        clean=clean,
        corrupted=corrupted,
        targets=torch.tensor([[1, -1], [2, 4]])[:size],
        foils=torch.tensor([[3], [0]])[:size],
        position=torch.full((size,), model.answer_position(clean)),
    )


def prepared(family, **options):
    wiring = split(model_of(family), **options)
    pair = pair_of(wiring.model)
    return wiring, pair, next(runs(wiring, [pair]))


CASES = [(family, {}) for family in FOLLOWED]
CASES += [("llama", {"slots": "query-head"}), ("gpt2", {"neurons": (1,)}), ("bert", {"neurons": (0,)})]
each_case = pytest.mark.parametrize(("family", "options"), CASES, ids=[f"{f}{o or ''}" for f, o in CASES])


@pytest.mark.parametrize(("family", "options"), [c for c in CASES if c[0] not in ("bert", "albert", "electra")])
def test_writes_add_up_to_the_stream(family, options):
    """Where no norm follows the sums; what post-norm models add is seen by running their circuits."""
    wiring, _, one = prepared(family, **options)
    biases = torch.zeros(())
    for layer in wiring.layers:
        for bias in constants(layer):
            biases = biases if bias is None else biases + bias
    torch.testing.assert_close(one.clean.writes.sum(0) + biases, one.clean.streams[-1])


@each_case
def test_all_edges_are_the_clean_run_and_none_the_other(family, options):
    wiring, _, one = prepared(family, **options)
    exists = wiring.graph.exists
    both = run_circuit(wiring, one.clean, one.other, torch.stack([exists, torch.zeros_like(exists)]))
    full, empty = both.chunk(2)
    torch.testing.assert_close(full, one.clean.logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(empty, one.corrupted.logits, rtol=0, atol=1e-6)
    assert not torch.allclose(full, empty, atol=1e-3)
    prefix = run_circuit(wiring, one.clean, one.other, exists, start=1)
    torch.testing.assert_close(prefix, full, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", PRECISE)
def test_eap_is_the_slope_of_the_circuit_run(family):
    """Each edge made a little less clean, by a run of the whole circuit, against one backward pass."""
    wiring, pair, one = prepared(family)
    measure, exists = one.measure("logit-diff"), wiring.graph.exists
    scores = edge_scores(wiring, [pair], "logit-diff", method="eap")
    edges = exists.nonzero()
    chosen = edges[torch.randperm(len(edges), generator=torch.Generator().manual_seed(1))[:12]]
    step = 1e-5
    for source, slot in chosen.tolist():
        masks = exists.double().repeat(2, 1, 1)
        masks[0, source, slot] += step
        masks[1, source, slot] -= step
        more, less = measure_copies(one, run_circuit(wiring, one.clean, one.other, masks))
        slope = (more - less) / (2 * step)
        assert scores[source, slot].item() == pytest.approx(slope.mean().item(), abs=1e-8)
    assert scores.isnan().equal(~exists)
    assert measure(one.clean.logits).shape == (len(pair),)


def measure_copies(one, logits):
    return one.measure("logit-diff", copies=2)(logits).chunk(2)


@pytest.mark.parametrize("family", ["llama", "bert", "neox"])
def test_positions_add_up_to_the_whole(family):
    wiring, pair, _ = prepared(family)
    each = edge_scores(wiring, [pair], "prob-diff", steps=2, positions=True)
    whole = edge_scores(wiring, [pair], "prob-diff", steps=2)
    torch.testing.assert_close(each.sum(0), whole, equal_nan=True)


@pytest.mark.parametrize("method", ["eap", "eap-ig", "eap-ig-activations", "clean-corrupted"])
@pytest.mark.parametrize("family", ["micro", "bert", "neox"])
def test_nothing_corrupted_scores_nothing(family, method):
    wiring, pair, _ = prepared(family)
    same = Pair(clean=pair.clean, corrupted=pair.clean, targets=pair.targets, foils=pair.foils, position=pair.position)
    scores = edge_scores(wiring, [same], "logit-diff", method=method, steps=2)
    assert scores[wiring.graph.exists].abs().max() == 0


@pytest.mark.parametrize("family", ["micro", "bert", "gpt2"])
def test_the_gap_is_what_the_edges_of_the_input_explain(family):
    """Completeness: gradients at the input, summed along its path, are the gap; midpoints miss it by 1/m^2."""
    wiring, pair, one = prepared(family)
    measure, rows = one.measure("logit-diff"), torch.arange(len(pair))
    gap = (measure(one.clean.logits) - measure(one.corrupted.logits)).sum()
    way = one.clean.writes[0] - one.other[0]

    def missed(steps):
        total = 0.0
        for share in path_shares(steps, "midpoint"):
            stream = (one.other[0] + share * way).requires_grad_()
            last = run_blocks(one.clean.calls, 0, stream)
            value = measure(answers(wiring.model, last[rows, pair.position])).sum()
            total += (torch.autograd.grad(value, stream)[0] * way).sum() / steps
        return abs((total - gap).item())

    assert missed(64) < missed(16) / 8


def test_eap_is_eap_ig_of_one_step_at_the_right_end():
    wiring, pair, _ = prepared("gpt2")
    eap = edge_scores(wiring, [pair], "logit-diff", method="eap")
    ig = edge_scores(wiring, [pair], "logit-diff", method="eap-ig", steps=1, rule="right")
    torch.testing.assert_close(ig, eap, rtol=1e-12, atol=0, equal_nan=True)


def test_replacing_by_mean_and_zero():
    """The mean is one vector a source, over all positions of all corrupted prompts; zeros are zeros."""
    wiring, pair, corrupted = prepared("gpt2")
    zero, mean = next(runs(wiring, [pair], "zero")), next(runs(wiring, [pair], "mean"))
    assert zero.other.abs().max() == 0
    torch.testing.assert_close(mean.other[:, 0, 0], corrupted.corrupted.writes.mean((1, 2)))
    assert mean.other.std((1, 2)).max() == 0
    with pytest.raises(UnknownName):
        next(runs(wiring, [pair], "nothing"))  # pyright: ignore[reportArgumentType]


def test_shares_of_the_path():
    assert path_shares(2, "left") == [0.0, 0.5]
    assert path_shares(2, "right") == [0.5, 1.0]
    assert path_shares(2, "midpoint") == [0.25, 0.75]


def test_what_cannot_be_followed_is_said():
    for family in set(FAMILIES) - set(FOLLOWED) - {"roberta", "distilbert"}:
        with pytest.raises(MissingCapability, match="Following edges needs"):
            split(tiny_model(family))
    wiring, pair, one = prepared("gpt2")
    with pytest.raises(BadInput, match="axes"):
        run_circuit(wiring, one.clean, one.other, torch.zeros(3, 4, dtype=torch.bool))
    with pytest.raises(UnknownName):
        edge_scores(wiring, [pair], "logit-diff", method="guess")  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match="at least 1 step"):
        edge_scores(wiring, [pair], "logit-diff", steps=0)
    with pytest.raises(BadInput, match="no example"):
        edge_scores(wiring, [], "logit-diff")
