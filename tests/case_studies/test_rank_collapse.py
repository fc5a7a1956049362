"""The rank collapse study: its networks by hand, the thresholds that are known, and that its claims can fail."""

from dataclasses import replace

import pytest
import torch

from case_studies.rank_collapse import measure, nets, numbers
from workbench import functional, studies
from workbench.studies.judging import verdicts

SEEDS = (0, 1, 2, 3, 4)
CLAIMS = {claim.quantity: claim for claim in studies.study("rank_collapse").claims}


def judged(found, *quantities):
    return [v.outcome for v in verdicts(studies.Findings(numbers=found), [CLAIMS[q] for q in quantities])]


@pytest.fixture(scope="module")
def found():
    return numbers.kind_numbers(measure.kinds_table(SEEDS))


@pytest.mark.parametrize("name", ["full, norm before", "attention and MLP", "full, norm after"])
def test_a_network_is_its_layers(name):
    """The first layer from its own weights, drawn again in the same order."""
    kind = nets.KINDS[name]
    found = nets.run(kind, 3, layers=1)
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-2] ** 0.5

    x = normal(32, 16) * 32**0.5
    assert torch.equal(x, found.states[0]) and abs(float(x.var()) - 1) < 0.2
    w_q, w_k, w_v = (normal(4, 16, 4) for _ in range(3))
    w_o, w_in, w_out = normal(16, 16), normal(16, 64), normal(64, 16)

    def norm(y):
        return (y - y.mean(-1, keepdim=True)) / y.std(-1, keepdim=True, correction=0)

    read = norm(x) if kind.norm == "before" else x
    heads = []
    for h in range(4):
        pattern = (read @ w_q[h] @ (read @ w_k[h]).T / 2).softmax(-1)
        heads.append(pattern @ read @ w_v[h])
    y = torch.cat(heads, -1) @ w_o + (x if kind.skip else 0)
    y = norm(y) if kind.norm == "after" else y
    read = norm(y) if kind.norm == "before" else y
    z = torch.relu(read @ w_in) @ w_out + (y if kind.skip else 0)
    torch.testing.assert_close(found.states[1], norm(z) if kind.norm == "after" else z, rtol=1e-10, atol=1e-12)


def test_the_thresholds_that_are_known(found):
    assert max(found["alone.layer_4"].values()) < 1e-6 and min(found["full.layer_8"].values()) > 0.1
    for name in ("alone.layer_4", "full.layer_8", "skip.layer_8", "alone.exponent"):
        assert CLAIMS[name].seeds == SEEDS
    assert judged(found, "alone.layer_4", "alone.exponent", "full.layer_8", "uniform.layer_1") == ["holds"] * 4
    assert judged(found, "mlp.slower") == ["does not reproduce"]


@pytest.mark.parametrize(
    ("name", "change", "broken"),
    [
        ("attention alone", {"identity": True}, ("alone.layer_4",)),
        ("attention alone", {"skip": True}, ("alone.layer_4", "alone.exponent")),
        ("attention alone", {"causal": True}, ("alone.layer_4", "alone.exponent")),
        ("full", {"skip": False}, ("full.layer_8",)),
        ("attention and skip", {"skip": False}, ("skip.layer_8",)),
        ("uniform attention", {"sharpness": 1.0}, ("uniform.layer_1",)),
    ],
)
def test_claims_fail_where_the_effect_is_switched_off(monkeypatch, name, change, broken):
    kinds = {**nets.KINDS, name: replace(nets.KINDS[name], **change)}
    monkeypatch.setattr(measure, "KINDS", kinds)
    assert set(judged(numbers.kind_numbers(measure.kinds_table(SEEDS)), *broken)) == {"fails"}


def test_paths_sum_and_in_the_wrong_order_do_not():
    net = nets.run(nets.Kind(skip=True), 0, 4)
    assert measure.enumerated_gap(net) < 1e-10 < 0.1 < measure.reversed_gap(net)
    sums = functional.path_length_sums(net.states[0], net.patterns, net.maps)
    assert sum(measure.shares(sums, net.states[-1])) == pytest.approx(1, abs=1e-12)
    assert numbers.counted_share(6, 4, 1) == pytest.approx(25 / 5**6)


def test_short_paths_do_not_carry_what_does_not_collapse(monkeypatch):
    """With attention of each position to itself, long paths tell positions apart as well: the claims fail."""
    usual = measure.run
    monkeypatch.setattr(measure, "run", lambda kind, *given: usual(replace(kind, identity=True), *given))
    found = numbers.path_numbers(measure.paths_table(SEEDS), 6)
    assert set(judged(found, "paths.short", "paths.longest_residual")) == {"fails"}
