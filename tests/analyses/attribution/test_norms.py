"""Norm-based maps of every family against blocks taken apart by hand, and what is known of them beforehand."""

from dataclasses import fields

import pytest
import torch

import workbench
from tests.analyses.attribution.plain_blocks import SINGLE, exact_model, single_steps, two_sided_steps
from workbench.analyses.attribution.evidence import gather
from workbench.analyses.attribution.norms import METHODS
from workbench.errors import MissingCapability
from workbench.functional import MIXING_MAPS
from workbench.testing import tiny_model

EXACT = {"rtol": 1e-10, "atol": 1e-11}


def length(step, norms, whole):
    for norm in norms:
        whole = norm(whole)
    return whole.norm(dim=-1)


def expected(step):
    """Every rung of the ladder in the words of the papers, from whole tensors; cross: the query is the last column."""
    n = len(step.own)
    weights, z = step.weights, step.z
    if step.cross:
        weights = torch.cat([weights, torch.zeros(n, 1)], 1)
        z = torch.cat([z, torch.zeros_like(z[:, :1])], 1)
        itself = torch.zeros_like(weights)
        itself[:, -1] = 1
    else:
        itself = torch.eye(n, dtype=z.dtype)
    whole = step.whole
    others = (whole * (1 - itself)[..., None]).sum(1).norm(dim=-1)
    kept = (whole * itself[..., None]).sum(1).norm(dim=-1)
    ratio = (others / (others + kept))[:, None]
    far = weights * (1 - itself)
    far = torch.nan_to_num(far / far.sum(-1, keepdim=True))
    lengths = z.norm(dim=-1)
    return {
        "W": weights,
        "W_FIXEDRES": (weights + itself) / 2,
        "W_RES": ratio * far + (1 - ratio) * itself,
        "N": lengths,
        "N_FIXEDRES": (lengths / lengths.sum(-1, keepdim=True) + itself) / 2,
        "N_RES": whole.norm(dim=-1),
        "N_RESLN": length(step, step.after, whole),
        "N_ENC": length(step, step.block, whole),
    }, ratio[:, 0]


def joint(found, part):
    """Steps of an encoder-decoder over all nodes, from a function of a step to its map."""
    maps, n = [], len(found["encoder"][0].own)
    size = n + len(found["self"][0].own)
    for step in found["encoder"]:
        maps.append(torch.eye(size, dtype=torch.float64))
        maps[-1][:n, :n] = part(step)
    for own, cross in zip(found["self"], found["cross"], strict=True):
        maps += [torch.eye(size, dtype=torch.float64), torch.eye(size, dtype=torch.float64)]
        maps[-2][n:, n:] = part(own)
        both = part(cross)
        maps[-1][n:, :n], maps[-1][n:, n:] = both[:, :-1], torch.diag(both[:, -1])
    return torch.stack(maps)


def shares(maps):
    return maps / maps.sum(-1, keepdim=True)


@pytest.mark.parametrize("family", SINGLE)
def test_every_map_of_every_family(family):
    model, text = exact_model(family)
    steps = single_steps(family, model, model.encode(text))
    for name in MIXING_MAPS:
        plain = torch.stack([expected(step)[0][name] for step in steps])
        found = workbench.norm_mixing(model, text, measure=name, cumulative=False, normalize=False)
        torch.testing.assert_close(found.maps, plain, **EXACT)
        found = workbench.norm_mixing(model, text, measure=name)
        first, last = shares(plain)[0], shares(plain)[-1]
        torch.testing.assert_close(found.maps, torch.stack([first, last @ first]), **EXACT)
        torch.testing.assert_close(found.scores, found.maps[:, found.row], rtol=0, atol=0)
    ratios = workbench.mixing_ratio(model, text)
    torch.testing.assert_close(ratios.ratios, torch.stack([expected(step)[1] for step in steps]), **EXACT)


@pytest.mark.parametrize("family", ["t5", "mt5", "bart", "whisper"])
def test_encoder_decoders_are_one_graph(family):
    model, text = exact_model(family)
    found = two_sided_steps(family, model, model.encode(text))
    for name in MIXING_MAPS:
        plain = joint(found, lambda step, name=name: expected(step)[0][name])
        seen = workbench.norm_mixing(model, text, measure=name, cumulative=False, normalize=False)
        torch.testing.assert_close(seen.maps, plain, **EXACT)
        normal = joint(found, lambda step, name=name: shares(expected(step)[0][name]))
        chained = [normal[0]]
        for step in normal[1:]:
            chained.append(step @ chained[-1])
        seen = workbench.norm_mixing(model, text, measure=name)
        torch.testing.assert_close(seen.maps, torch.stack(chained), **EXACT)
        assert seen.steps[-1] == "decoder 1 cross"
    ratios = workbench.mixing_ratio(model, text)
    n = len(found["encoder"][0].own)
    for i, step in enumerate(found["encoder"]):
        torch.testing.assert_close(ratios.ratios[i, :n], expected(step)[1], **EXACT)
        assert not ratios.ratios[i, n:].any()
    for i, step in enumerate(s for pair in zip(found["self"], found["cross"], strict=True) for s in pair):
        torch.testing.assert_close(ratios.ratios[len(found["encoder"]) + i, n:], expected(step)[1], **EXACT)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "neox", "t5"])
def test_rows_are_shares(family):
    model = tiny_model(family)
    for name in MIXING_MAPS:
        maps = workbench.norm_mixing(model, "abc => a" if family == "t5" else "abcab", measure=name).maps
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_one_token_is_all_there_is(family):
    model = tiny_model(family)
    batch = {"input_ids": torch.tensor([[7]])}
    for name in MIXING_MAPS:
        found = workbench.norm_mixing(model, batch["input_ids"], measure=name)
        torch.testing.assert_close(found.scores, torch.ones(model.n_blocks, 1))


def test_values_of_zero_leave_the_stream_to_itself():
    model = tiny_model("bert")
    with torch.no_grad():
        for block in model.module.bert.encoder.layer:
            block.attention.self.value.weight.zero_()
            block.attention.self.value.bias.zero_()
    found = workbench.norm_mixing(model, "abcab", measure="N_RES")
    torch.testing.assert_close(found.maps[-1], torch.eye(len(found.tokens)))
    assert not workbench.mixing_ratio(model, "abcab").ratios.any()


def test_padding_changes_nothing():
    model, text = exact_model("gpt2")
    ids = model.encode(text)["input_ids"]
    padded = {"input_ids": torch.cat([ids.new_zeros(1, 3), ids], 1)}
    padded["attention_mask"] = torch.tensor([[0] * 3 + [1] * ids.shape[1]])
    padded["position_ids"] = (padded["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    for method in METHODS:
        plain = method.function(gather(model, ids, method.wants(model)))
        evidence = gather(encoding(model, padded), text, method.wants(model))
        torch.testing.assert_close(method.function(evidence).values, plain.values, **EXACT)


def encoding(model, batch):
    """The same model, whose inputs are `batch` whatever is asked."""

    class Fixed(type(model)):
        def encode(self, *_args, **_more):
            return batch

    return Fixed(**{f.name: getattr(model, f.name) for f in fields(model)})


def test_models_without_known_norms_are_told():
    with pytest.raises(MissingCapability, match="norms and output maps known as numbers"):
        workbench.norm_mixing(tiny_model("mamba"), "abc")
